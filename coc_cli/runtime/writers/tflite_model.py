"""Integer graphs as TFLite, for LiteRT on phones and TensorFlow Lite Micro on microcontrollers: bytes all through.

The input and all exits' outputs are bytes as well; their steps and zero points stand in the file. It does not stop at
an exit by itself. Codes of fewer bits than 8 are clipped as the network does, and lie in bytes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from coc_cli.errors import StageError
from coc_cli.runtime import interpreter
from coc_cli.runtime.graph import (
    Array,
    Average,
    Concat,
    IntegerGraph,
    Layer,
    Node,
    Operation,
    Round,
    Sum,
    Window,
)
from coc_cli.runtime.writers.tflite_channels import Affine, averaged, averages, rounded, windows
from coc_cli.runtime.writers.tflite_file import schema
from coc_cli.runtime.writers.tflite_operations import averages_map, emit
from coc_cli.runtime.writers.tflite_scope import BOTTOM, INSTEAD, MAP, Held, Scope

INPUT = "image"


def write(graph: IntegerGraph, output_ranges: Mapping[str, float]) -> bytes:
    """Return the file: input `image` [1, H, W, C], outputs `exit_0` and on, the final one last.

    Args:
        graph: The network.
        output_ranges: As `calibrated` gives them.

    Raises:
        StageError: If TFLite, in bytes, has no words for a part of the network, or its package is not installed.
    """
    schema()
    if graph.kept_float:
        layer, reason = next(iter(graph.kept_float.items()))
        raise StageError(f"layer '{layer}' is not integer, as TFLite needs: {reason}; {INSTEAD}", "to")
    scope = Scope(graph, output_ranges)
    source = _input(scope)
    for node in graph.nodes:
        if node.name not in scope.held:
            scope.held[node.name] = _WRITERS[type(node)](scope, node)
    outputs = {f"exit_{index}": scope.plain(name).index for index, name in enumerate(graph.outputs)}
    return scope.model.to_bytes(source, outputs, INPUT)


def calibrated(graph: IntegerGraph, images: Array) -> dict[str, float]:
    """Return the largest number seen in each tensor that needs a step in bytes and has no grid of its own.

    Those are the last layers' outputs: logits, or targets of a regression.

    Args:
        graph: The network.
        images: Normalised, [N, C, H, W].
    """
    names = tuple(node.name for node in graph.nodes if _needs_range(graph, node))
    found = interpreter.run(graph, images, taps=names)[len(graph.outputs) :]
    return {name: float(np.abs(values).max()) for name, values in zip(names, found, strict=True)}


def _needs_range(graph: IntegerGraph, node: Node) -> bool:
    if graph.values[node.name].grid is not None:
        return False
    return isinstance(node, Layer) or (isinstance(node, Operation) and averages_map(graph, node))


def _input(scope: Scope) -> int:
    """Add the input, as codes of the finest grid to which the network rounds it."""
    graph = scope.graph
    rounds = [node for node in graph.nodes if isinstance(node, Round) and node.inputs[0] == graph.input]
    if not rounds:
        raise StageError(f"the input '{graph.input}' is not rounded to codes, as TFLite needs; {INSTEAD}", "to")
    grids = {node.name: scope.grid(node.name) for node in rounds}
    finest = max(grids, key=lambda name: grids[name].high - grids[name].low)
    order = MAP if len(scope.shape(finest)) == len(MAP) else tuple(range(len(scope.shape(finest))))
    index = scope.model.add(scope.tensor(scope.shape(finest), order, grids[finest]))
    source = Held(index, order, grids[finest], BOTTOM)
    # The caller rounds the image; codes below the grid's lowest are cut off here.
    for node in rounds:
        scope.held[node.name] = scope.requantized(source, grids[node.name])
    return index


def _round(scope: Scope, node: Round) -> Held:
    held = scope.held.get(node.inputs[0])
    if isinstance(held, Affine):
        return rounded(scope, held, scope.shape(node.name), scope.grid(node.name))
    return scope.requantized(scope.one(node.inputs[0]), scope.grid(node.name))


# Layers


def _layer(scope: Scope, node: Layer) -> Held:
    grid = scope.grid(node.name)
    has_grid = scope.graph.values[node.name].grid is not None
    low, high = (node.low, node.high) if has_grid else (grid.low, grid.high)
    if node.window is None:
        source = scope.plain(node.inputs[0])
        return _linear(scope, node, source, Held(0, source.order, grid, low), high)
    source = scope.map(node.inputs[0])
    return _convolution(scope, node, node.window, source, Held(0, MAP, grid, low), high)


def _linear(scope: Scope, node: Layer, source: Held, like: Held, high: int) -> Held:
    parameters = scope.parameters(source, node.codes, _scale(node), node.bias, 0)
    fields = {"KeepNumDims": len(source.order) > 2}  # noqa: PLR2004 - rows of numbers are what it takes
    inputs = [source.index, *parameters]
    return scope.rounded(
        "FULLY_CONNECTED", inputs, like, scope.shape(node.name), high=high, options="FullyConnectedOptions", **fields
    )


def _scale(node: Layer) -> Array:
    """Return the steps of weights; 1 for a channel that is nothing but zeros, whose step means nothing."""
    is_zero = (node.codes.reshape(len(node.codes), -1) == 0).all(1) & (node.bias == 0)
    return np.where(is_zero, np.float32(1), node.scale).astype(np.float32)


def _convolution(scope: Scope, node: Layer, window: Window, source: Held, like: Held, high: int) -> Held:
    channels, shape = scope.shape(node.inputs[0])[1], scope.shape(node.name)
    is_depthwise = node.groups == channels and node.codes.shape[1] == 1 and node.groups > 1
    source, fields = windows(scope, source, window, shape[2:])
    if is_depthwise:
        codes = np.ascontiguousarray(node.codes.transpose(1, 2, 3, 0))  # [1, kh, kw, O]
        kind, options, axis = "DEPTHWISE_CONV_2D", "DepthwiseConv2DOptions", 3
        fields["DepthMultiplier"] = len(node.codes) // channels
    else:
        codes = np.ascontiguousarray(node.codes.transpose(0, 2, 3, 1))  # [O, kh, kw, I / groups]
        kind, options, axis = "CONV_2D", "Conv2DOptions", 0
    inputs = [source.index, *scope.parameters(source, codes, _scale(node), node.bias, axis)]
    return scope.rounded(kind, inputs, like, shape, high=high, options=options, **fields)


# Sums, joins, averages


def _sum(scope: Scope, node: Sum) -> Held:
    first = scope.one(node.inputs[0])
    inputs = [scope.ordered(scope.one(name), first.order).index for name in node.inputs]
    like = Held(0, first.order, scope.grid(node.name), node.low)
    return scope.rounded("ADD", inputs, like, scope.shape(node.name), high=node.high, options="AddOptions")


def _concat(scope: Scope, node: Concat) -> Held:
    parts = [scope.one(name) for name in node.inputs]
    return scope.joined(parts, node.axis, scope.shape(node.name), scope.grid(node.name))


def _average(scope: Scope, node: Average) -> Held:
    source, grid, shape = scope.map(node.inputs[0]), scope.grid(node.name), scope.shape(node.name)
    return (
        averaged(scope, source, shape, grid)
        if node.window is None
        else averages(scope, source, node.window, shape, grid)
    )


def _operation(scope: Scope, node: Operation) -> Any:
    if averages_map(scope.graph, node):
        return averaged(scope, scope.map(node.inputs[0]), scope.shape(node.name), scope.grid(node.name))
    return emit(scope, node)


_WRITERS: dict[type[Node], Callable[..., Any]] = {
    Round: _round,
    Layer: _layer,
    Sum: _sum,
    Concat: _concat,
    Average: _average,
    Operation: _operation,
}
