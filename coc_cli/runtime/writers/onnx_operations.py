"""How ONNX says what is no integer operation: one function or one entry for each operation and module of `nets/`.

Each takes the scope, the operation and its arguments by name (a tensor is its name in ONNX), and returns the name of
what it gives, or a list of names for several tensors.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from types import SimpleNamespace
from typing import Any

import numpy as np

from coc_cli.errors import StageError
from coc_cli.nets.operations import ATTENTION, OPERATIONS
from coc_cli.runtime.graph import Operation, PerImage, Ref
from coc_cli.runtime.writers.onnx_scope import AXES_ARE_INPUTS, Scope

Emitter = Callable[[Scope, Operation, Any], Any]
EMITTERS: dict[str, Emitter] = {}
MATRIX = 2  # dimensions


def emit(scope: Scope, node: Operation) -> Any:
    """Write an operation; return the name of what it gives, or several.

    Raises:
        StageError: If ONNX has no words for it here.
    """
    emitter = EMITTERS.get(node.kind)
    if emitter is None:
        raise StageError(f"'{node.name}' is a {node.kind}, for which coc has no ONNX yet", "to")
    moves = scope.value(node.name).grid is not None

    def filled(argument: Any) -> Any:
        if isinstance(argument, Ref):
            return scope.held[argument] if moves else scope.float_of(argument)
        if isinstance(argument, tuple | list):
            return tuple(filled(item) for item in argument)
        return argument

    arguments = [filled(argument) for argument in node.arguments]
    if node.kind in OPERATIONS and not node.attributes:
        bound = OPERATIONS[node.kind].parameters.bind(*arguments)
        bound.apply_defaults()
        given = dict(bound.arguments)
    else:
        given = {"x": arguments[0] if arguments else None, **node.attributes}
    return emitter(scope, node, SimpleNamespace(**given))


def emits(*kinds: str) -> Callable[[Emitter], Emitter]:
    def note(emitter: Emitter) -> Emitter:
        EMITTERS.update(dict.fromkeys(kinds, emitter))
        return emitter

    return note


def _shape(scope: Scope, node: Operation, index: int = 0) -> tuple[int, ...]:
    """Return the shape of an operand, with -1 for a first dimension that follows the number of images."""
    return scope.value(node.inputs[index]).dims


def _pair(value: Any) -> list[int]:
    return list(value) if isinstance(value, tuple | list) else [value, value]


def _pads(padding: Any) -> list[int]:
    return _pair(padding) * 2


# Elementwise

_SAME = {
    "relu": "Relu", "sigmoid": "Sigmoid", "tanh": "Tanh", "exp": "Exp", "log": "Log", "sqrt": "Sqrt", "abs": "Abs",
    "neg": "Neg", "erf": "Erf", "floor": "Floor", "round": "Round", "sign": "Sign", "reciprocal": "Reciprocal",
    "hardswish": "HardSwish", "softsign": "Softsign", "identity": "Identity", "sin": "Sin", "cos": "Cos",
}  # fmt: skip


def _unary(name: str) -> Emitter:
    return lambda scope, _, a: scope.op(name, [a.x])


EMITTERS.update({kind: _unary(name) for kind, name in _SAME.items()})


def _operand(scope: Scope, value: Any) -> str:
    return value if isinstance(value, str) else scope.constant(value)


def _binary(name: str) -> Emitter:
    return lambda scope, _, a: scope.op(name, [_operand(scope, a.x), _operand(scope, a.y)])


_TWO = {
    "mul": "Mul",
    "div": "Div",
    "sub": "Sub",
    "maximum": "Max",
    "minimum": "Min",
    "power": "Pow",
    "matmul": "MatMul",
}
EMITTERS.update({kind: _binary(name) for kind, name in _TWO.items()})


@emits("add")
def _add(s: Scope, _: Operation, a: Any) -> str:
    y = _operand(s, a.y)
    return s.op("Add", [_operand(s, a.x), y if a.alpha == 1 else s.op("Mul", [y, s.constant(a.alpha)])])


@emits("reversed_sub", "reversed_div")
def _reversed(s: Scope, node: Operation, a: Any) -> str:
    return s.op(node.kind.removeprefix("reversed_").capitalize(), [_operand(s, a.y), _operand(s, a.x)])


@emits("addcmul")
def _addcmul(s: Scope, _: Operation, a: Any) -> str:
    return s.op("Add", [a.x, s.op("Mul", [a.a, a.b])])


@emits("square")
def _square(s: Scope, _: Operation, a: Any) -> str:
    return s.op("Mul", [a.x, a.x])


@emits("rsqrt")
def _rsqrt(s: Scope, _: Operation, a: Any) -> str:
    return s.op("Reciprocal", [s.op("Sqrt", [a.x])])


@emits("silu")
def _silu(s: Scope, _: Operation, a: Any) -> str:
    return s.op("Mul", [a.x, s.op("Sigmoid", [a.x])])


@emits("mish")
def _mish(s: Scope, _: Operation, a: Any) -> str:
    return s.op("Mul", [a.x, s.op("Tanh", [s.op("Softplus", [a.x])])])


@emits("gelu")
def _gelu(s: Scope, _: Operation, a: Any) -> str:
    half = s.op("Mul", [a.x, s.constant(0.5)])
    if a.approximate == "tanh":
        cube = s.op("Mul", [s.op("Mul", [a.x, a.x]), a.x])
        inner = s.op("Add", [a.x, s.op("Mul", [cube, s.constant(0.044715)])])
        bent = s.op("Tanh", [s.op("Mul", [inner, s.constant(math.sqrt(2 / math.pi))])])
    else:
        bent = s.op("Erf", [s.op("Mul", [a.x, s.constant(math.sqrt(0.5))])])
    return s.op("Mul", [half, s.op("Add", [bent, s.constant(1)])])


@emits("hardsigmoid")
def _hardsigmoid(s: Scope, _: Operation, a: Any) -> str:
    return s.op("HardSigmoid", [a.x], alpha=1 / 6, beta=0.5)


@emits("relu6", "hardtanh", "clamp", "clamp_min", "clamp_max")
def _clip(s: Scope, node: Operation, a: Any) -> str:
    low = 0.0 if node.kind == "relu6" else getattr(a, "min_val", getattr(a, "min", None))
    high = 6.0 if node.kind == "relu6" else getattr(a, "max_val", getattr(a, "max", None))
    return s.op("Clip", [a.x, "" if low is None else s.constant(low), *([] if high is None else [s.constant(high)])])


@emits("leakyrelu", "leaky_relu")
def _leaky(s: Scope, _: Operation, a: Any) -> str:
    return s.op("LeakyRelu", [a.x], alpha=float(a.negative_slope))


@emits("elu", "celu")
def _elu(s: Scope, node: Operation, a: Any) -> str:
    return s.op(node.kind.capitalize(), [a.x], alpha=float(a.alpha))


@emits("selu")
def _selu(s: Scope, _: Operation, a: Any) -> str:
    return s.op("Selu", [a.x])


@emits("softplus")
def _softplus(s: Scope, _: Operation, a: Any) -> str:
    soft = s.op("Softplus", [s.op("Mul", [a.x, s.constant(a.beta)])])
    return s.op("Div", [soft, s.constant(a.beta)])


@emits("prelu")
def _prelu(s: Scope, node: Operation, a: Any) -> str:
    rank = len(_shape(s, node))
    if "weight" not in node.parameters:
        raise StageError(f"'{node.name}' computes its slopes, for which coc has no ONNX yet", "to")
    slope = node.parameters["weight"].reshape(-1, *[1] * (rank - 2))
    return s.op("PRelu", [a.x, s.constant(slope)])


@emits("softmax", "log_softmax", "logsoftmax")
def _softmax(s: Scope, node: Operation, a: Any) -> str:
    axis = 1 if a.dim is None else a.dim
    return s.op("Softmax" if node.kind == "softmax" else "LogSoftmax", [a.x], axis=axis)


def _parts(scope: Scope, count: int) -> dict[str, Any]:
    return {"num_outputs": count} if scope.opset >= AXES_ARE_INPUTS else {}


@emits("glu")
def _glu(s: Scope, _: Operation, a: Any) -> str:
    first, second = s.ops("Split", [a.x], 2, axis=a.dim, **_parts(s, 2))
    return s.op("Mul", [first, s.op("Sigmoid", [second])])


@emits("constant")
def _constant(s: Scope, node: Operation, _: Any) -> str:
    value = node.parameters["value"]
    return s.constant(value, value.dtype)


# Layers and norms


@emits("conv2d", "conv1d")
def _conv(s: Scope, node: Operation, a: Any) -> str:
    if a.padding_mode != "zeros":
        modes = {"reflect": "reflect", "replicate": "edge"}
        if a.padding_mode not in modes or isinstance(a.padding, str):
            raise StageError(f"'{node.name}' pads by {a.padding_mode}, for which coc has no ONNX yet", "to")
        around = list(a.padding)
        a.x = s.op("Pad", [a.x, s.ints(0, 0, *around, 0, 0, *around)], mode=modes[a.padding_mode])
        a.padding = (0,) * len(around)
    if a.padding == "same":
        total = [d * (k - 1) for d, k in zip(a.dilation, a.kernel_size, strict=True)]
        pads = [t // 2 for t in total] + [t - t // 2 for t in total]
    else:
        pads = [0] * 2 * len(a.kernel_size) if a.padding == "valid" else list(a.padding) * 2
    inputs = [a.x, *(s.constant(node.parameters[name]) for name in ("weight", "bias") if name in node.parameters)]
    return s.op("Conv", inputs, pads=pads, strides=list(a.stride), dilations=list(a.dilation), group=a.groups)


@emits("convtranspose2d", "convtranspose1d")
def _conv_transpose(s: Scope, node: Operation, a: Any) -> str:
    inputs = [a.x, *(s.constant(node.parameters[name]) for name in ("weight", "bias") if name in node.parameters)]
    sizes = {"pads": list(a.padding) * 2, "strides": list(a.stride), "dilations": list(a.dilation)}
    return s.op("ConvTranspose", inputs, group=a.groups, output_padding=list(a.output_padding), **sizes)


@emits("linear")
def _linear(s: Scope, node: Operation, a: Any) -> str:
    bias = [s.constant(node.parameters["bias"])] if "bias" in node.parameters else []
    if len(_shape(s, node)) == MATRIX:
        return s.op("Gemm", [a.x, s.constant(node.parameters["weight"]), *bias], transB=1)
    product = s.op("MatMul", [a.x, s.constant(node.parameters["weight"].T)])
    return s.op("Add", [product, *bias]) if bias else product


@emits("batchnorm2d", "batchnorm1d")
def _batch_norm(s: Scope, node: Operation, a: Any) -> str:
    held = node.parameters
    if "running_mean" not in held:
        raise StageError(f"'{node.name}' takes its norm from the batch, which a runtime cannot", "to")
    gain = held.get("weight", np.ones_like(held["running_var"]))
    parts = (gain, held.get("bias", np.zeros_like(gain)), held["running_mean"], held["running_var"])
    return s.op("BatchNormalization", [a.x, *map(s.constant, parts)], epsilon=float(a.eps))


@emits("layernorm", "layer_norm")
def _layer_norm(s: Scope, node: Operation, a: Any) -> str:
    shape = tuple(np.atleast_1d(a.normalized_shape))
    gain = node.parameters.get("weight", getattr(a, "weight", None))
    bias = node.parameters.get("bias", getattr(a, "bias", None))
    gain = gain if isinstance(gain, str) else s.constant(np.ones(shape) if gain is None else gain)
    bias = bias if isinstance(bias, str) else s.constant(np.zeros(shape) if bias is None else bias)
    return s.op("LayerNormalization", [a.x, gain, bias], axis=-len(shape), epsilon=float(a.eps))


@emits("groupnorm", "group_norm")
def _group_norm(s: Scope, node: Operation, a: Any) -> str:
    shape, groups = _shape(s, node), a.num_groups
    rows = s.op("Reshape", [a.x, s.ints(0, groups, -1)])
    unit = (s.constant(np.ones(groups)), s.constant(np.zeros(groups)))
    normed = s.op("InstanceNormalization", [rows, *unit], epsilon=float(a.eps))
    made = s.op("Reshape", [normed, s.ints(*(-1 if dim < 0 else dim for dim in shape))])
    for kind, name in (("Mul", "weight"), ("Add", "bias")):
        if name in node.parameters:
            made = s.op(kind, [made, s.constant(node.parameters[name].reshape(-1, *[1] * (len(shape) - 2)))])
    return made


@emits("instancenorm2d", "instancenorm1d")
def _instance_norm(s: Scope, node: Operation, a: Any) -> str:
    if "running_mean" in node.parameters:
        return str(_batch_norm(s, node, a))
    channels = _shape(s, node)[1]
    parts = (node.parameters.get("weight", np.ones(channels)), node.parameters.get("bias", np.zeros(channels)))
    return s.op("InstanceNormalization", [a.x, *map(s.constant, parts)], epsilon=float(a.eps))


@emits("localresponsenorm")
def _lrn(s: Scope, _: Operation, a: Any) -> str:
    return s.op("LRN", [a.x], size=a.size, alpha=float(a.alpha), beta=float(a.beta), bias=float(a.k))


@emits("normalize")
def _normalize(s: Scope, node: Operation, a: Any) -> str:
    if a.p != MATRIX:
        raise StageError(f"'{node.name}' normalises by another norm than 2, for which coc has no ONNX yet", "to")
    length = s.op("Sqrt", [s.reduced("ReduceSum", s.op("Mul", [a.x, a.x]), [a.dim], keep=True)])
    return s.op("Div", [a.x, s.op("Max", [length, s.constant(a.eps)])])


@emits("bagoffeatures")
def _bag(s: Scope, node: Operation, a: Any) -> str:
    gain, shift = (s.constant(node.parameters[name].reshape(-1, 1, 1)) for name in ("gain", "shift"))
    near = s.op("Add", [s.op("Tanh", [s.op("Add", [shift, s.op("Mul", [a.x, gain])])]), s.constant(1)])
    total = s.op("Max", [s.reduced("ReduceSum", near, [1], keep=True), s.constant(1e-6)])
    pooled = _adaptive(s, s.op("Div", [near, total]), _shape(s, node)[2:], (2, 2))
    return s.reshaped(pooled, s.value(node.name))


# Pools and sizes


@emits("maxpool2d", "max_pool2d")
def _max_pool(s: Scope, _: Operation, a: Any) -> str:
    stride = a.kernel_size if a.stride is None else a.stride
    sizes = {"kernel_shape": _pair(a.kernel_size), "strides": _pair(stride), "pads": _pads(a.padding)}
    return s.op("MaxPool", [a.x], dilations=_pair(a.dilation), ceil_mode=int(a.ceil_mode), **sizes)


@emits("avgpool2d", "avg_pool2d")
def _average_pool(s: Scope, node: Operation, a: Any) -> str:
    if a.divisor_override:
        raise StageError(f"'{node.name}' has a divisor of its own, for which coc has no ONNX yet", "to")
    stride = a.kernel_size if a.stride is None else a.stride
    sizes = {"kernel_shape": _pair(a.kernel_size), "strides": _pair(stride), "pads": _pads(a.padding)}
    flags = {"ceil_mode": int(a.ceil_mode), "count_include_pad": int(a.count_include_pad)}
    return s.op("AveragePool", [a.x], **sizes, **flags)


def _adaptive(s: Scope, x: str, size: Sequence[int], wanted: Sequence[int | None]) -> str:
    target = [old if new is None else new for new, old in zip(wanted, size, strict=True)]
    if target == [1, 1]:
        return s.op("GlobalAveragePool", [x])
    if all(old % new == 0 for new, old in zip(target, size, strict=True)):
        kernel = [old // new for new, old in zip(target, size, strict=True)]
        return s.op("AveragePool", [x], kernel_shape=kernel, strides=kernel)
    for axis, (new, old) in enumerate(zip(target, size, strict=True), start=2):
        means = np.zeros((old, new), np.float32)  # one column a window: its mean, as torch cuts them
        for index in range(new):
            first, last = index * old // new, -(-(index + 1) * old // new)
            means[first:last, index] = 1 / (last - first)
        if axis == len(size) + 1:
            x = s.op("MatMul", [x, s.constant(means)])
        else:
            x = s.op("MatMul", [s.constant(means.T), x])
    return x


@emits("adaptiveavgpool2d", "adaptive_avg_pool2d")
def _adaptive_average(s: Scope, node: Operation, a: Any) -> str:
    return _adaptive(s, a.x, _shape(s, node)[2:], _pair(a.output_size))


@emits("adaptivemaxpool2d", "adaptive_max_pool2d")
def _adaptive_max(s: Scope, node: Operation, a: Any) -> str:
    size, wanted = _shape(s, node)[2:], _pair(a.output_size)
    kernel = [old // (new or old) for new, old in zip(wanted, size, strict=True)]
    if any(old % (new or old) for new, old in zip(wanted, size, strict=True)):
        raise StageError(f"'{node.name}' takes maxima of windows that overlap, for which coc has no ONNX yet", "to")
    return s.op("MaxPool", [a.x], kernel_shape=kernel, strides=kernel)


@emits("upsample", "interpolate", "upsamplingnearest2d", "upsamplingbilinear2d")
def _resize(s: Scope, node: Operation, a: Any) -> str:
    mode = getattr(a, "mode", None) or ("linear" if "bilinear" in node.kind else "nearest")
    if mode not in ("nearest", "bilinear", "linear"):
        raise StageError(f"'{node.name}' resizes by {mode}, for which coc has no ONNX yet", "to")
    corners = getattr(a, "align_corners", None) or node.kind == "upsamplingbilinear2d"
    old, new = _shape(s, node)[2:], s.value(node.name).shape[1:]
    scales = [1.0, 1.0, *(wide / narrow for wide, narrow in zip(new, old, strict=True))]
    how = "asymmetric" if mode == "nearest" else "align_corners" if corners else "half_pixel"
    kind = {"mode": "nearest" if mode == "nearest" else "linear", "coordinate_transformation_mode": how}
    nearest = {"nearest_mode": "floor"} if mode == "nearest" else {}
    return s.op("Resize", [a.x, "", s.constant(scales)], **kind, **nearest)


@emits("pad", "zeropad2d", "constantpad2d", "reflectionpad2d", "replicationpad2d")
def _pad(s: Scope, node: Operation, a: Any) -> str:
    named = {"reflectionpad2d": "reflect", "replicationpad2d": "edge"}
    mode = {"replicate": "edge"}.get(word := getattr(a, "mode", named.get(node.kind, "constant")), word)
    if mode not in ("constant", "reflect", "edge"):
        raise StageError(f"'{node.name}' pads by {mode}, for which coc has no ONNX yet", "to")
    value = s.value(node.name)
    rank, around = len(value.dims), list(getattr(a, "pad", None) or a.padding)
    before = [0] * (rank - len(around) // 2) + around[::2][::-1]
    after = [0] * (rank - len(around) // 2) + around[1::2][::-1]
    with_what = [] if mode != "constant" else [s.constant(getattr(a, "value", 0) or 0)]
    if value.grid is not None:
        with_what = [s.zero(value.grid)] if mode == "constant" else []
    return s.op("Pad", [a.x, s.ints(*before, *after), *with_what], mode=mode)


# Moves


@emits("flatten", "reshape", "unflatten", "squeeze", "unsqueeze")
def _reshape(s: Scope, node: Operation, a: Any) -> str:
    value = s.value(node.name)
    if value.rows > 1 and value.shape == ():
        raise StageError(f"'{node.name}' mixes images, which a runtime cannot", "to")
    return s.reshaped(a.x, value)


@emits("permute")
def _permute(s: Scope, _: Operation, a: Any) -> str:
    return s.op("Transpose", [a.x], perm=[dim % len(a.dims) for dim in a.dims])


@emits("transpose")
def _transpose(s: Scope, node: Operation, a: Any) -> str:
    order = list(range(len(_shape(s, node))))
    order[a.dim0], order[a.dim1] = order[a.dim1], order[a.dim0]
    return s.op("Transpose", [a.x], perm=order)


@emits("movedim")
def _movedim(s: Scope, node: Operation, a: Any) -> str:
    rank = len(_shape(s, node))
    order = [dim for dim in range(rank) if dim != a.source % rank]
    order.insert(a.destination % rank, a.source % rank)
    return s.op("Transpose", [a.x], perm=order)


@emits("cat")
def _cat(s: Scope, _: Operation, a: Any) -> str:
    return s.op("Concat", list(a.tensors), axis=a.dim)


@emits("stack")
def _stack(s: Scope, _: Operation, a: Any) -> str:
    return s.op("Concat", [s.op("Unsqueeze", [x, s.ints(a.dim)]) for x in a.tensors], axis=a.dim)


@emits("chunk", "split")
def _split(s: Scope, node: Operation, a: Any) -> list[str]:
    length = _shape(s, node)[a.dim]
    size = getattr(a, "split_size", None) or -(-length // a.chunks)
    if isinstance(size, tuple | list):
        sizes = list(size)
    else:
        sizes = [min(size, length - start) for start in range(0, length, size)]
    return s.ops("Split", [a.x, s.ints(*sizes)], len(sizes), axis=a.dim)


@emits("unbind")
def _unbind(s: Scope, node: Operation, a: Any) -> list[str]:
    length = _shape(s, node)[a.dim]
    parts = s.ops("Split", [a.x, s.ints(*[1] * length)], length, axis=a.dim)
    return [s.op("Squeeze", [part, s.ints(a.dim)]) for part in parts]


@emits("select")
def _select(s: Scope, _: Operation, a: Any) -> str:
    return s.op("Gather", [a.x, s.constant(a.index, np.int64)], axis=a.dim)


@emits("getitem")
def _getitem(s: Scope, node: Operation, a: Any) -> Any:
    if isinstance(a.x, tuple | list):
        return a.x[a.index]
    index = a.index if isinstance(a.index, tuple) else (a.index,)
    rank = len(_shape(s, node))
    taken = sum(part is not None and part is not ... for part in index)
    full = [part for one in index for part in ([slice(None)] * (rank - taken) if one is ... else [one])]
    x, axis = a.x, 0
    for part in full:
        if part is None:
            x, axis = s.op("Unsqueeze", [x, s.ints(axis)]), axis + 1
        elif isinstance(part, int):
            x = s.op("Gather", [x, s.constant(part, np.int64)], axis=axis)
        elif isinstance(part, slice):
            bounds = (part.start, part.stop, part.step)
            if any(bound is not None and not isinstance(bound, PerImage) for bound in bounds):
                stop = np.iinfo(np.int64).max if part.stop is None else part.stop
                x = s.op("Slice", [x, *(s.ints(value) for value in (part.start or 0, stop, axis, part.step or 1))])
            axis += 1
        else:
            raise StageError(f"'{node.name}' takes elements by a tensor, for which coc has no ONNX yet", "to")
    return x


@emits("narrow")
def _narrow(s: Scope, _: Operation, a: Any) -> str:
    return s.op("Slice", [a.x, s.ints(a.start), s.ints(a.start + a.length), s.ints(a.dim)])


@emits("expand", "expand_as", "repeat", "tile")
def _expand(s: Scope, node: Operation, a: Any) -> str:
    value = s.value(node.name)
    if node.kind in ("repeat", "tile"):
        counts = getattr(a, "sizes", None) or a.dims
        if value.rows == 0:
            return s.op("Tile", [a.x, s.ints(*counts)])
        first = s.images() if isinstance(counts[0], PerImage) else s.ints(counts[0])
        return s.op("Tile", [a.x, s.op("Concat", [first, s.ints(*counts[1:])], axis=0)])
    return s.op("Expand", [a.x, s.shape_of(value)])


@emits("channel_shuffle", "channelshuffle")
def _shuffle(s: Scope, node: Operation, a: Any) -> str:
    _, channels, *size = _shape(s, node)
    x = s.op("Reshape", [a.x, s.ints(-1, a.groups, channels // a.groups, *size)])
    x = s.op("Transpose", [x], perm=[0, 2, 1, *range(3, 3 + len(size))])
    return s.op("Reshape", [x, s.ints(-1, channels, *size)])


@emits("pixel_shuffle", "pixelshuffle")
def _pixel_shuffle(s: Scope, _: Operation, a: Any) -> str:
    return s.op("DepthToSpace", [a.x], blocksize=a.upscale_factor, mode="CRD")


# Reductions and attention


def _reduction(name: str) -> Emitter:
    def reduce(s: Scope, node: Operation, a: Any) -> str:
        if a.dim is None:
            raise StageError(f"'{node.name}' mixes images, which a runtime cannot", "to")
        dims = [dim % len(_shape(s, node)) for dim in (a.dim if isinstance(a.dim, tuple | list) else [a.dim])]
        return s.reduced(name, a.x, dims, keep=a.keepdim)

    return reduce


_REDUCTIONS = {"mean": "ReduceMean", "sum": "ReduceSum", "amax": "ReduceMax", "amin": "ReduceMin"}
EMITTERS.update({kind: _reduction(name) for kind, name in _REDUCTIONS.items()})


@emits(ATTENTION)
def _attention(s: Scope, node: Operation, a: Any) -> str:
    if a.is_causal:
        raise StageError(f"'{node.name}' looks back only, for which coc has no ONNX yet", "to")
    rank, width = len(_shape(s, node)), _shape(s, node)[-1]
    turned = s.op("Transpose", [a.key], perm=[*range(rank - 2), rank - 1, rank - 2])
    scaled = s.op("Mul", [a.query, s.constant(width**-0.5 if a.scale is None else a.scale)])
    scores = s.op("MatMul", [scaled, turned])
    if a.attn_mask is not None:
        scores = s.op("Add", [scores, a.attn_mask])
    return s.op("MatMul", [s.op("Softmax", [scores], axis=-1), a.value])
