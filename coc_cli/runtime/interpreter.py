"""The reference: an integer graph run node by node, exactly as ONNX Runtime rounds.

Sums of codes are exact, whatever order they are taken in; what follows is float32, one rounding an operation, halves to
even. Slow, and only for comparison.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
import torch

from coc_cli.nets import heads
from coc_cli.nets.module_kinds import MODULES
from coc_cli.nets.operations import OPERATIONS
from coc_cli.nets.plain_modules import made
from coc_cli.nets.running import function_of as listed
from coc_cli.runtime.graph import (
    ZERO,
    Array,
    Average,
    Concat,
    Grid,
    IntegerGraph,
    Layer,
    Node,
    Operation,
    PerImage,
    Ref,
    Round,
    Sum,
    Window,
)

F32 = np.float32
EXACT_IN_FLOAT32 = 1 << 24


def run(graph: IntegerGraph, x: Array, *, taps: tuple[str, ...] = ()) -> list[Array]:
    """Return the numbers [N, K] of all exits for normalised images [N, C, H, W], then the codes of `taps`."""
    held: dict[str, Array] = {graph.input: np.ascontiguousarray(x, F32)}
    for node in graph.nodes:
        held[node.name] = _STEPS[type(node)](graph, node, held, len(x))
    outputs = [_values(graph, held, name)[:, : graph.values[name].shape[-1]] for name in graph.outputs]
    return [*outputs, *(held[name] for name in taps)]


def _values(graph: IntegerGraph, held: dict[str, Array], name: str) -> Array:
    grid = graph.values[name].grid
    return held[name] if grid is None else held[name].astype(F32) * F32(grid.scale)


def _rounded(values: Array, low: int, high: int) -> Array:
    return np.clip(np.rint(values), low, high).astype(np.int32)


def _grid(graph: IntegerGraph, name: str) -> Grid:
    grid = graph.values[name].grid
    assert grid is not None
    return grid


def _round(graph: IntegerGraph, node: Round, held: dict[str, Array], _: int) -> Array:
    grid = _grid(graph, node.name)
    return _rounded(_values(graph, held, node.inputs[0]) / F32(grid.scale), grid.low, grid.high)


def _layer(graph: IntegerGraph, node: Layer, held: dict[str, Array], _: int) -> Array:
    codes, source, grid = held[node.inputs[0]], _grid(graph, node.inputs[0]), graph.values[node.name].grid
    fan_in = node.codes[0].size
    largest = fan_in * max(source.high, -source.low) * int(np.abs(node.codes.astype(int)).max(initial=0))
    kind = F32 if largest < EXACT_IN_FLOAT32 else np.float64
    sums = _products(codes.astype(kind), node, kind).astype(np.int64)
    shape = (-1, 1, 1) if node.window else (-1,)  # channels are first in maps, else last
    sums += node.bias.astype(np.int64).reshape(shape)
    step = F32(source.scale) * node.scale
    if grid is None:
        values: Array = sums.astype(F32) * step.reshape(shape)
        return values
    return _rounded(sums.astype(F32) * (step / F32(grid.scale)).reshape(shape), node.low, node.high)


def _products(codes: Array, node: Layer, kind: Any) -> Array:
    """Return the sums of products [N, O, ...] of codes [N, I, ...]."""
    weights = node.codes.astype(kind)
    if node.window is None:
        linear: Array = codes @ weights.T
        return linear
    windows = _windows(codes, node.window)  # [N, I, oh, ow, kh, kw]
    (count, _, height, width), groups = windows.shape[:4], node.groups
    rows = windows.transpose(0, 2, 3, 1, 4, 5).reshape(count * height * width, groups, -1)
    kernels = weights.reshape(groups, len(weights) // groups, -1)
    sums = np.matmul(rows.transpose(1, 0, 2), kernels.transpose(0, 2, 1))  # [G, rows, O / G]
    maps: Array = sums.transpose(1, 0, 2).reshape(count, height, width, -1).transpose(0, 3, 1, 2)
    return maps


def _windows(values: Array, window: Window) -> Array:
    top, left, bottom, right = window.padding
    padded = np.pad(values, ((0, 0), (0, 0), (top, bottom), (left, right)))
    extent = tuple(d * (k - 1) + 1 for d, k in zip(window.dilation, window.kernel, strict=True))
    found = np.lib.stride_tricks.sliding_window_view(padded, extent, axis=(2, 3))  # type: ignore[call-overload]
    (down, right_), (dh, dw) = window.stride, window.dilation
    windows: Array = found[:, :, ::down, ::right_, ::dh, ::dw]
    return windows


def _sum(graph: IntegerGraph, node: Sum, held: dict[str, Array], _: int) -> Array:
    grid = _grid(graph, node.name)
    (a, zero_a, ratio_a), (b, zero_b, ratio_b) = (
        (held[name].astype(np.float64) + zero, zero, float(F32(_grid(graph, name).scale) / F32(grid.scale)))
        for name in node.inputs
        for zero in [_zero(_grid(graph, name))]
    )
    zero = _zero(grid)
    fixed = float(F32(zero) - (F32(ratio_a) * F32(zero_a) + F32(ratio_b) * F32(zero_b)))
    inner = (b * ratio_b + fixed).astype(F32)  # one rounding: a fused multiply-add
    values = (a * ratio_a + inner).astype(F32)
    return _rounded(values, node.low + zero, node.high + zero) - zero


def _zero(grid: Grid) -> int:
    return ZERO if grid.low < 0 else 0


def _concat(graph: IntegerGraph, node: Concat, held: dict[str, Array], _: int) -> Array:
    grid = _grid(graph, node.name)
    parts = [_values(graph, held, name) / F32(grid.scale) for name in node.inputs]
    return _rounded(np.concatenate(parts, node.axis), grid.low, grid.high)


def _average(graph: IntegerGraph, node: Average, held: dict[str, Array], _: int) -> Array:
    grid, source, codes = _grid(graph, node.name), _grid(graph, node.inputs[0]), held[node.inputs[0]]
    shape = (len(codes), *graph.values[node.name].shape)
    if node.window is None:
        ratio = F32(source.scale) / F32(F32(grid.scale) * F32(codes[0, 0].size))
        return _rounded(codes.sum((2, 3), dtype=np.int64).astype(F32) * ratio, grid.low, grid.high).reshape(shape)
    values = codes.astype(F32) * F32(source.scale)
    means = _windows(values, node.window).sum((4, 5), dtype=F32) / F32(np.prod(node.window.kernel))
    return _rounded(means / F32(grid.scale), grid.low, grid.high).reshape(shape)


def _operation(graph: IntegerGraph, node: Operation, held: dict[str, Array], images: int) -> Any:
    on_codes = graph.values[node.name].grid is not None

    def filled(argument: Any) -> Any:
        if isinstance(argument, Ref):
            value: Any = held[argument] if on_codes else _values(graph, held, argument)
            return torch.from_numpy(np.ascontiguousarray(value, F32)) if isinstance(value, np.ndarray) else value
        if isinstance(argument, PerImage):
            return int(argument) * images
        if isinstance(argument, tuple | list):
            return tuple(filled(item) for item in argument)
        if isinstance(argument, slice):
            return slice(*(filled(part) for part in (argument.start, argument.stop, argument.step)))
        return argument

    with torch.no_grad():
        given = function_of(node)(*filled(node.arguments))
    return _numpy(given, np.int32 if on_codes else None)


def _numpy(value: Any, kind: Any) -> Any:
    if isinstance(value, tuple | list):
        return tuple(_numpy(item, kind) for item in value)
    return (
        value if not isinstance(value, torch.Tensor) else value.numpy() if kind is None else value.numpy().astype(kind)
    )


@cache
def function_of(node: Operation) -> Callable[..., Any]:
    """Return what an operation does to torch's tensors."""
    if node.kind == "constant":
        return lambda: torch.from_numpy(node.parameters["value"])
    if node.kind in OPERATIONS and not node.attributes and not node.parameters:
        return listed(node.kind)
    tensors = {name: torch.from_numpy(np.array(value)) for name, value in node.parameters.items()}
    if node.kind == "bagoffeatures":
        module: Any = heads.BagOfFeatures(len(tensors["gain"]))
    else:
        kind = next(kind for kind in MODULES if kind.lower() == node.kind)
        attributes = dict(node.attributes)
        if "bias" in MODULES[kind]:
            attributes["bias"] = "bias" in tensors
        module = made(kind, attributes)
    module.load_state_dict(tensors)
    function: Callable[..., Any] = module.eval()
    return function


_STEPS: dict[type[Node], Callable[..., Any]] = {
    Round: _round,
    Layer: _layer,
    Sum: _sum,
    Concat: _concat,
    Average: _average,
    Operation: _operation,
}
