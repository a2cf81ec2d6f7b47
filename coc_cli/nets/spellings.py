"""How networks write operations: the names of torch's functions and methods, and what to write in place of some."""

from __future__ import annotations

from typing import Any

_DECIDES = "decides by the values of a tensor; let it depend on shapes or settings alone, or use torch.where"
INSTEAD = "use nn.Dropout or torchvision.ops.StochasticDepth"
_RANDOM = f"draws random numbers in forward; {INSTEAD}"
_WRITES = "writes into a part of a tensor; build it with torch.cat, torch.where or F.pad"
_SAMPLES = "samples at places that it computes; coc does not count that"
_FILLS = "sets weights in forward; make layers in __init__, where the network is made"
_COMPLEX = "makes complex numbers; coc counts and rounds real ones"
_RECURRENT = "is a recurrent layer; coc takes convolutional networks"

# What is refused by name: why, and whether only where a tensor takes part.
REFUSED: dict[str, tuple[str, bool]] = {
    **dict.fromkeys(("__bool__", "__contains__", "nonzero", "argwhere", "unique"), (_DECIDES, True)),
    **dict.fromkeys(
        ("isnan", "isinf", "isfinite", "any", "all", "equal", "allclose"),
        ("looks at the values of a tensor; leave such checks out of forward", True),
    ),
    **dict.fromkeys(
        ("item", "tolist", "__int__", "__float__", "__index__", "numpy", "__array__", "__complex__"),
        ("takes values out of a tensor; keep them in tensors", True),
    ),
    **dict.fromkeys(
        ("rand", "randn", "randint", "randperm", "rand_like", "randn_like", "randint_like", "bernoulli", "bernoulli_")
        + ("normal", "normal_", "uniform_", "multinomial", "gumbel_softmax", "rrelu", "rrelu_", "exponential_"),
        (_RANDOM, False),
    ),
    **dict.fromkeys(("lstm", "gru", "rnn_tanh", "rnn_relu", "lstm_cell", "gru_cell"), (_RECURRENT, True)),
    **dict.fromkeys(("__setitem__", "index_put_"), (_WRITES, True)),
    **dict.fromkeys(("kaiming_uniform_", "kaiming_normal_", "xavier_uniform_", "xavier_normal_"), (_FILLS, True)),
    **dict.fromkeys(("trunc_normal_", "constant_"), (_FILLS, True)),
    "copy_": ("writes into a tensor; use the new tensor in its place", True),
    "einsum": ("is a sum over named indices; write it with torch.matmul and permute", True),
    "multi_head_attention_forward": ("has its weights inside; use nn.MultiheadAttention as a module", True),
    "bilinear": ("has its weights inside; make it a layer, a torch.nn module", True),
    **dict.fromkeys(("grid_sample", "affine_grid", "deform_conv2d"), (_SAMPLES, True)),
    **dict.fromkeys(("polar", "complex", "view_as_complex"), (_COMPLEX, True)),
    **{f"fft_{word}": (_COMPLEX, True) for word in ("fft", "fft2", "fftn", "rfft", "rfft2", "rfftn")},
}

# The names that nodes had when operators were traced as such; checkpoints refer to nodes by them.
SHOWN_NAMES = {
    "add_": "add",  # as x += y is called, too
    "mul_": "mul",
    "sub_": "sub",
    "div_": "truediv",
    "div": "truediv",
    "__rsub__": "sub",
    "__rdiv__": "truediv",
    "__rtruediv__": "truediv",
    "__rpow__": "pow",
}


def spelling(function: Any) -> str:
    """Return the name of a function of torch as a network writes it; of an attribute of a tensor, that."""
    name = getattr(function, "__name__", str(function))
    if name in ("__get__", "__set__"):
        name = getattr(getattr(function, "__self__", None), "__name__", name)
    return str(name)


def in_place(word: str) -> bool:
    """Return whether a function of that name changes its first argument."""
    return word.endswith("_") and not word.endswith("__")


def node_name(word: str) -> str:
    """Return the name of the node for a function of that name."""
    return SHOWN_NAMES.get(word) or (word.strip("_") if word.startswith("__") else word)
