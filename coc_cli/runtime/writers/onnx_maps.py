"""Pools, sizes and borders of maps in ONNX."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from coc_cli.errors import StageError
from coc_cli.runtime.graph import Operation
from coc_cli.runtime.writers.onnx_emitters import emits, pads, pair, shape_of
from coc_cli.runtime.writers.onnx_scope import Scope


@emits("maxpool2d", "max_pool2d")
def _max_pool(s: Scope, _: Operation, a: Any) -> str:
    stride = a.kernel_size if a.stride is None else a.stride
    sizes = {"kernel_shape": pair(a.kernel_size), "strides": pair(stride), "pads": pads(a.padding)}
    return s.op("MaxPool", [a.x], dilations=pair(a.dilation), ceil_mode=int(a.ceil_mode), **sizes)


@emits("avgpool2d", "avg_pool2d")
def _average_pool(s: Scope, node: Operation, a: Any) -> str:
    if a.divisor_override:
        raise StageError(f"'{node.name}' has a divisor of its own, for which coc has no ONNX yet", "to")
    stride = a.kernel_size if a.stride is None else a.stride
    sizes = {"kernel_shape": pair(a.kernel_size), "strides": pair(stride), "pads": pads(a.padding)}
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
    return _adaptive(s, a.x, shape_of(s, node)[2:], pair(a.output_size))


@emits("adaptivemaxpool2d", "adaptive_max_pool2d")
def _adaptive_max(s: Scope, node: Operation, a: Any) -> str:
    size, wanted = shape_of(s, node)[2:], pair(a.output_size)
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
    old, new = shape_of(s, node)[2:], s.value(node.name).shape[1:]
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
    with_what = []
    if mode == "constant":
        with_what = [s.zero(value.grid) if value.grid else s.constant(getattr(a, "value", 0) or 0)]
    return s.op("Pad", [a.x, s.ints(*before, *after), *with_what], mode=mode)


@emits("bagoffeatures")
def _bag(s: Scope, node: Operation, a: Any) -> str:
    gain, shift = (s.constant(node.parameters[name].reshape(-1, 1, 1)) for name in ("gain", "shift"))
    near = s.op("Add", [s.op("Tanh", [s.op("Add", [shift, s.op("Mul", [a.x, gain])])]), s.constant(1)])
    total = s.op("Max", [s.reduced("ReduceSum", near, [1], keep=True), s.constant(1e-6)])
    pooled = _adaptive(s, s.op("Div", [near, total]), shape_of(s, node)[2:], (2, 2))
    return s.reshaped(pooled, s.value(node.name))
