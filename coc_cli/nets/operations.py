"""The operations that a network may consist of, beside modules: one line each. No torch here.

What is not in the list is refused when a network comes in. A checkpoint names operations by their key, with arguments
in the order of the signature; it never names a function.
"""

from __future__ import annotations

import inspect
from dataclasses import dataclass
from functools import cached_property
from typing import Any

NN = "torch.nn.functional:"
OURS = "coc_cli.nets.operation_functions:"


@dataclass(frozen=True)
class Operation:
    """An operation: how networks write it, what runs, and what it costs."""

    name: str
    signature: str  # its parameters in order; *shape takes all further positions, or one sequence of them
    kind: str  # a key of KINDS
    function: str  # what runs, "module:name"
    written: frozenset[str]  # the names under which networks call it

    @cached_property
    def parameters(self) -> inspect.Signature:
        """Its signature, as Python binds it."""
        parts = []
        for text in self.signature.split(", "):
            word, _, default = text.partition("=")
            name, kind = word.removeprefix("*"), inspect.Parameter.POSITIONAL_OR_KEYWORD
            value = _DEFAULTS[default] if default in _DEFAULTS else float(default) if default else inspect._empty  # noqa: SLF001
            parts.append(inspect.Parameter(name, kind, default=value))
        return inspect.Signature(parts)

    @property
    def gathers(self) -> str:
        """The parameter that takes all further positions; empty if none does."""
        last = self.signature.split(", ")[-1]
        return last.removeprefix("*").partition("=")[0] if last.startswith("*") else ""

    def bound(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Any, ...]:
        """Return arguments in the order of the signature, without what equals the defaults at the end.

        Raises `TypeError` if they do not fit.
        """
        if (last := self.gathers) and last not in kwargs:
            before = self.signature.count(", ")
            args, rest = args[:before], args[before:]
            kwargs = {**kwargs, last: rest[0] if len(rest) == 1 and isinstance(rest[0], (tuple, list)) else rest}
        given = self.parameters.bind(*args, **kwargs)
        given.apply_defaults()
        values = list(given.arguments.values())
        for parameter in reversed(list(self.parameters.parameters.values())):
            default = parameter.default
            if default is inspect._empty or type(values[-1]) is not type(default) or values[-1] != default:  # noqa: SLF001
                break
            values.pop()
        return tuple(values)


_DEFAULTS: dict[str, Any] = {
    "None": None,
    "True": True,
    "False": False,
    **{str(number): number for number in range(-9, 10)},
    **{f"'{word}'": word for word in ("none", "nearest", "constant", "row")},
}

ATTENTION = "scaled_dot_product_attention"
_OPERANDS = "query, key, value, attn_mask=None, dropout_p=0.0, is_causal=False, scale=None"

# What an operation does with channels and what it costs. Only `product` multiplies and accumulates; the others count
# as nothing, as is usual in the field.
KINDS = {
    "pointwise": "each element by itself, or of two tensors those that meet",
    "move": "values are moved, repeated or left out, none is changed",
    "pool": "each channel by itself over space",
    "reduce": "over the named dimensions",
    "mix": "each element depends on others of its dimension",
    "product": "sums of products of two tensors",
    "number": "a size, no tensor",
}
ENUMS = frozenset(  # every text that an argument may be
    ("none", "tanh", "nearest", "nearest-exact", "bilinear", "bicubic", "area", "linear", "trilinear", "constant")
    + ("reflect", "replicate", "circular", "zeros", "same", "valid", "row", "batch", "floor", "trunc", "border")
    + ("reflection", "fro")
)


def _table(kind: str, lines: str, module: str) -> dict[str, Operation]:
    """Read lines `NAME(SIGNATURE) [FURTHER NAME ...]`; a leading ! marks functions of our own."""
    found = {}
    for line in lines.strip().splitlines():
        head, _, rest = line.strip().partition(")")
        name, _, signature = " ".join(head.split()).partition("(")
        own, name = name.startswith("!"), name.removeprefix("!")
        written = frozenset((name, *rest.split()))
        found[name] = Operation(name, signature, kind, f"{OURS if own else module}{name}", written)
    return found


OPERATIONS: dict[str, Operation] = {
    **_table(
        "pointwise",
        """
        relu(x) relu_
        relu6(x)
        leaky_relu(x, negative_slope=0.01) leaky_relu_
        elu(x, alpha=1.0) elu_
        selu(x) selu_
        celu(x, alpha=1.0) celu_
        gelu(x, approximate='none')
        silu(x)
        mish(x)
        hardswish(x)
        hardsigmoid(x)
        hardtanh(x, min_val=-1.0, max_val=1.0) hardtanh_
        sigmoid(x) sigmoid_ expit
        logsigmoid(x)
        tanh(x) tanh_
        softplus(x, beta=1.0, threshold=20.0)
        softsign(x)
        tanhshrink(x)
        softshrink(x, lambd=0.5)
        hardshrink(x, lambd=0.5)
        threshold(x, threshold, value) threshold_
        prelu(x, weight)
        dropout(x, p=0.5, training=True)
        alpha_dropout(x, p=0.5, training=True)
        feature_alpha_dropout(x, p=0.5, training=True)
        dropout1d(x, p=0.5, training=True)
        dropout2d(x, p=0.5, training=True)
        dropout3d(x, p=0.5, training=True)
        !stochastic_depth(x, p, mode='row', training=True)
        """,
        NN,
    ),
    **_table(
        "pointwise",
        """
        exp(x) exp_
        log(x) log_
        log1p(x)
        sqrt(x) sqrt_
        rsqrt(x)
        abs(x) __abs__ absolute abs_
        neg(x) __neg__ negative neg_
        square(x)
        reciprocal(x)
        sin(x)
        cos(x)
        erf(x)
        floor(x)
        round(x)
        sign(x)
        clamp(x, min=None, max=None) clip clamp_ clip_
        clamp_min(x, min) clamp_min_
        clamp_max(x, max) clamp_max_
        detach(x)
        !identity(x) contiguous clone
        !as_float(x)
        !add(x, y, alpha=1) __add__ __iadd__ add_
        !sub(x, y, alpha=1) __sub__ __isub__ sub_ subtract
        !mul(x, y) __mul__ __imul__ mul_ multiply
        !div(x, y, rounding_mode=None) __truediv__ __itruediv__ div_ divide true_divide
        !floordiv(x, y) __floordiv__ floor_divide
        !mod(x, y) __mod__ remainder
        !reversed_sub(x, y) __rsub__ rsub
        !reversed_div(x, y) __rtruediv__ __rdiv__
        !power(x, y) __pow__ pow
        maximum(x, y)
        minimum(x, y)
        addcmul(x, a, b)
        !lerp(x, y, weight)
        eq(x, y) __eq__
        ne(x, y) __ne__
        lt(x, y) __lt__
        le(x, y) __le__
        gt(x, y) __gt__
        ge(x, y) __ge__
        logical_not(x)
        where(condition, x, y)
        masked_fill(x, mask, value) masked_fill_
        !filled(like, shape, value)
        """,
        "torch:",
    ),
    **_table(
        "pool",
        """
        max_pool1d(x, kernel_size, stride=None, padding=0, dilation=1, ceil_mode=False)
        max_pool2d(x, kernel_size, stride=None, padding=0, dilation=1, ceil_mode=False)
        avg_pool1d(x, kernel_size, stride=None, padding=0, ceil_mode=False, count_include_pad=True)
        avg_pool2d(x, kernel_size, stride=None, padding=0, ceil_mode=False, count_include_pad=True, \
            divisor_override=None)
        lp_pool2d(x, norm_type, kernel_size, stride=None, ceil_mode=False)
        adaptive_avg_pool1d(x, output_size)
        adaptive_max_pool1d(x, output_size)
        adaptive_avg_pool2d(x, output_size)
        adaptive_max_pool2d(x, output_size)
        interpolate(x, size=None, scale_factor=None, mode='nearest', align_corners=None, \
            recompute_scale_factor=None, antialias=False)
        pad(x, pad, mode='constant', value=None)
        instance_norm(x)
        """,
        NN,
    ),
    **_table(
        "move",
        """
        pixel_shuffle(x, upscale_factor)
        pixel_unshuffle(x, downscale_factor)
        unfold(x, kernel_size, dilation=1, padding=0, stride=1)
        """,
        NN,
    ),
    **_table(
        "move",
        """
        reshape(x, *shape) view view_as reshape_as
        flatten(x, start_dim=0, end_dim=-1)
        unflatten(x, dim, sizes)
        permute(x, *dims)
        transpose(x, dim0, dim1) swapaxes swapdims transpose_
        !squeeze(x, dim=None) squeeze_
        unsqueeze(x, dim) unsqueeze_
        cat(tensors, dim=0) concat concatenate
        stack(tensors, dim=0)
        chunk(x, chunks, dim=0)
        !split(x, split_size, dim=0)
        unbind(x, dim=0)
        !getitem(x, index) __getitem__
        !expand(x, *sizes)
        !expand_as(x, y)
        !repeat(x, *sizes)
        tile(x, *dims)
        repeat_interleave(x, repeats, dim=None)
        roll(x, shifts, dims=None)
        flip(x, *dims)
        rot90(x, k, dims)
        triu(x, diagonal=0)
        tril(x, diagonal=0)
        narrow(x, dim, start, length)
        select(x, dim, index)
        index_select(x, dim, index)
        movedim(x, source, destination) moveaxis
        channel_shuffle(x, groups)
        """,
        "torch:",
    ),
    **_table(
        "reduce",
        """
        !mean(x, dim=None, keepdim=False)
        !sum(x, dim=None, keepdim=False)
        !amax(x, dim=None, keepdim=False)
        !amin(x, dim=None, keepdim=False)
        !max(x, dim=None, keepdim=False)
        !min(x, dim=None, keepdim=False)
        !var(x, dim=None, unbiased=True, keepdim=False, correction=None)
        !std(x, dim=None, unbiased=True, keepdim=False, correction=None)
        logsumexp(x, dim, keepdim=False)
        !norm(x, p=2.0, dim=None, keepdim=False)
        """,
        "torch:",
    ),
    **_table(
        "mix",
        """
        softmax(x, dim=None)
        log_softmax(x, dim=None)
        softmin(x, dim=None)
        glu(x, dim=-1)
        normalize(x, p=2.0, dim=1, eps=1e-12)
        layer_norm(x, normalized_shape, weight=None, bias=None, eps=1e-05)
        rms_norm(x, normalized_shape, weight=None, eps=None)
        group_norm(x, num_groups, weight=None, bias=None, eps=1e-05)
        local_response_norm(x, size, alpha=0.0001, beta=0.75, k=1.0)
        glu(x, dim=-1)
        fold(x, output_size, kernel_size, dilation=1, padding=0, stride=1)
        """,
        NN,
    ),
    **_table("mix", "cumsum(x, dim)", "torch:"),
    **_table(
        "product",
        """
        matmul(x, y) __matmul__ bmm mm
        baddbmm(input, x, y)
        addmm(input, x, y)
        """,
        "torch:",
    ),
    **_table("product", f"!{ATTENTION}({_OPERANDS}, training=True)", OURS),
    **_table("number", "!size(x, dim)\n!numel(x) nelement", OURS),
}
BY_SPELLING = {word: one for one in OPERATIONS.values() for word in one.written}
