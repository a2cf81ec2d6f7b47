"""Integer graphs as ONNX: one file that stops by itself, and one with all exits for batches.

What is integer is written as QuantizeLinear, Clip on codes and DequantizeLinear around plain operations, which runtimes
fuse into integer ones: unsigned activations, signed weights. At each exit stands an If; its other branch holds the rest
of the network, with its own constants.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper

from coc_cli.runtime.graph import (
    ZERO,
    Average,
    Concat,
    IntegerGraph,
    Layer,
    Node,
    Operation,
    Round,
    Sum,
    Window,
    saturates,
)
from coc_cli.runtime.writers.onnx_exits import (
    CONFIDENCE,
    EXIT,
    PROBABILITIES,
    THRESHOLD,
    VALUE,
    answer,
    described_outputs,
    leaves,
)
from coc_cli.runtime.writers.onnx_operations import emit
from coc_cli.runtime.writers.onnx_scope import OLDEST_OPSET, Names, Scope, described
from coc_cli.version import __version__

MAP = 3  # dimensions of a map of one image
INPUT = "image"


@dataclass(frozen=True)
class WeightKind:
    """How weights lie in a file."""

    largest: int  # code
    kind: int  # ONNX's type
    opset: int  # that has the type
    ir_version: int
    runtime: str  # the ONNX Runtime from which on it can be read


WEIGHTS = {
    "int8": WeightKind(127, TensorProto.INT8, OLDEST_OPSET, 8, "1.18"),
    "int4": WeightKind(7, TensorProto.INT4, 21, 10, "1.23"),
    "int2": WeightKind(1, getattr(TensorProto, "INT2", 0), 25, 13, "1.24"),
}


@dataclass(frozen=True)
class OnnxForm:
    """How a file is written."""

    weights: str = "int8"
    unsigned: frozenset[str] = frozenset()  # layers whose weights are unsigned bytes: exact without VNNI, too


def unsigned_layers(graph: IntegerGraph, *, portable: bool) -> frozenset[str]:
    """Return the layers whose weights must be unsigned bytes for equal answers on processors without VNNI.

    If not `portable`, only where the first layer and classifiers alone need it, as in networks of few bits.
    """
    found = saturating(graph)
    layers = [node for node in graph.nodes if isinstance(node, Layer)]
    cheap = {node.layer for node in layers[:1]} | {node.layer for node in layers if node.window is None}
    return found if portable or found <= cheap else frozenset()


def saturating(graph: IntegerGraph) -> frozenset[str]:
    """Return the layers that processors without VNNI may compute otherwise; see `saturates`."""
    return frozenset(
        node.layer
        for node in graph.nodes
        if isinstance(node, Layer) and (grid := graph.values[node.inputs[0]].grid) and saturates(node, grid)
    )


def whole(graph: IntegerGraph, form: OnnxForm) -> onnx.ModelProto:
    """Return the network for one image, leaving at the first exit whose rule says so."""
    scope = _scope(graph, form, batch=False)
    shape = [1, *graph.values[graph.input].shape]
    _stretch(scope, form, graph.stretches(), 0, None)
    return _model(scope, form, shape, described_outputs(graph, [1]))


def batched(graph: IntegerGraph, form: OnnxForm) -> onnx.ModelProto:
    """Return the network for any number of images: all exits are computed, and the rule chooses among them."""
    scope = _scope(graph, form, batch=True)
    found: list[dict[str, str]] = []
    conditions: list[str | None] = []
    numbers: list[str] = []
    for index, nodes in enumerate(graph.stretches()):
        _write(scope, form, nodes)
        numbers.append(scope.op("Identity", [scope.float_of(graph.outputs[index])], name=f"exit_{index}"))
        conditions.append(leaves(scope, index, numbers) if index < len(graph.outputs) - 1 else None)
        found.append(answer(scope, numbers[index], index))
    chosen = found[-1]
    count = scope.images()
    chosen[EXIT] = scope.op("Expand", [chosen[EXIT], count])
    for condition, said in reversed(list(zip(conditions, found, strict=True))[:-1]):
        if condition is None:
            continue
        column = scope.op("Unsqueeze", [condition, scope.ints(1)])
        for name, value in said.items():
            is_row = name == PROBABILITIES or (name == VALUE and graph.scale is not None)
            chosen[name] = scope.op("Where", [column if is_row else condition, value, chosen[name]])
    for name, value in chosen.items():
        scope.op("Identity", [value], name=name)
    each = [described(f"exit_{i}", ["n", graph.values[name].shape[-1]]) for i, name in enumerate(graph.outputs)]
    return _model(scope, form, ["n", *graph.values[graph.input].shape], [*described_outputs(graph, ["n"]), *each])


def _scope(graph: IntegerGraph, form: OnnxForm, *, batch: bool) -> Scope:
    return Scope(graph, Names(), {graph.input: INPUT}, batch, WEIGHTS[form.weights].opset)


def _model(scope: Scope, form: OnnxForm, shape: Sequence[Any], outputs: Sequence[Any]) -> onnx.ModelProto:
    """Return the file of a written network, whose threshold, or one of each exit, is an input with a default."""
    inputs = [described(INPUT, shape)]
    if (rule := scope.graph.rule) is not None:
        thresholds = np.atleast_1d(np.array(rule.threshold, np.float32))
        inputs.append(described(THRESHOLD, [len(thresholds)]))
        scope.constants.append(onnx.numpy_helper.from_array(thresholds, THRESHOLD))
    kind = WEIGHTS[form.weights]
    opsets = [helper.make_opsetid("", kind.opset)]
    graph = scope.to_proto("coc", inputs, outputs)
    model = helper.make_model(graph, opset_imports=opsets, ir_version=kind.ir_version)
    model.producer_name, model.producer_version = "coc", __version__
    return model


# Exits


def _stretch(
    scope: Scope, form: OnnxForm, stretches: list[tuple[Node, ...]], index: int, numbers: list[str] | None
) -> None:
    """Write the network from one exit on, ending in the four outputs of this scope."""
    graph = scope.graph
    _write(scope, form, stretches[index])
    numbers = [*(numbers or []), scope.float_of(graph.outputs[index])]
    is_last = index == len(stretches) - 1
    condition = None if is_last else leaves(scope, index, numbers)
    if is_last:
        scope.rename(answer(scope, numbers[-1], index))
    elif condition is None:
        _stretch(scope, form, stretches, index + 1, numbers)
    else:
        here, there = scope.inner(), scope.inner()
        leaving = [
            here.op("Identity", [value], name=scope.names.fresh(name))
            for name, value in answer(here, numbers[-1], index).items()
        ]
        _stretch(there, form, stretches, index + 1, numbers)
        going = _renamed(there, len(leaving))
        kinds = [value.type.tensor_type for value in described_outputs(graph, [1])]
        branches = {
            f"{side}_branch": branch.to_proto(
                scope.names.fresh(side),
                [],
                [
                    described(name, [dim.dim_value for dim in kind.shape.dim], kind.elem_type)
                    for name, kind in zip(names, kinds, strict=True)
                ],
            )
            for side, branch, names in (("then", here, leaving), ("else", there, going))
        }
        names = [value.name for value in described_outputs(graph, [1])]
        scope.nodes.append(helper.make_node("If", [condition], names, name=scope.names.fresh("if"), **branches))


def _renamed(scope: Scope, count: int) -> list[str]:
    """Rename the outputs of a branch as no name may be used twice in a file; return the new ones in order."""
    new = {scope.names.fresh(name): name for name in (VALUE, EXIT, CONFIDENCE, PROBABILITIES)[:count]}
    scope.rename(new)
    return list(new)


# Nodes


def _write(scope: Scope, form: OnnxForm, nodes: Sequence[Node]) -> None:
    for node in nodes:
        scope.held[node.name] = _WRITERS[type(node)](scope, form, node)


def _round(scope: Scope, _: OnnxForm, node: Round) -> str:
    grid = scope.value(node.name).grid
    assert grid is not None
    return scope.rounded(scope.float_of(node.inputs[0]), grid)


def _layer(scope: Scope, form: OnnxForm, node: Layer) -> str:
    source, made = scope.value(node.inputs[0]), scope.value(node.name)
    assert source.grid is not None
    is_map = node.window is not None
    reads = scope.held[node.inputs[0]]
    if not is_map and len(source.shape) > 1:
        reads = scope.op("Reshape", [reads, scope.ints(-1, source.shape[-1])])
    x = scope.op("DequantizeLinear", [reads, scope.constant(source.grid.scale), scope.zero(source.grid)])
    weight = scope.op("DequantizeLinear", _weights(scope, form, node), axis=0)
    step = np.float32(source.grid.scale) * node.scale
    bias = scope.op("DequantizeLinear", [scope.constant(node.bias, np.int32), scope.constant(step)], axis=0)
    if node.window is not None:
        window = node.window
        sizes = {"pads": list(window.padding), "strides": list(window.stride), "dilations": list(window.dilation)}
        output = scope.op("Conv", [x, weight, bias], kernel_shape=list(window.kernel), group=node.groups, **sizes)
    else:
        output = scope.op("Gemm", [x, weight, bias], transB=1)
    if made.grid is not None:
        output = scope.rounded(output, made.grid, node.low, node.high)
    return scope.reshaped(output, made) if not is_map and len(source.shape) > 1 else output


def _weights(scope: Scope, form: OnnxForm, node: Layer) -> list[str]:
    """Write a layer's codes in as few bits as the form takes; return what dequantises them."""
    codes, scale = node.codes, scope.constant(node.scale)
    kind = WEIGHTS[form.weights]
    if node.layer in form.unsigned:
        shifted = (codes.astype(np.int16) + ZERO).astype(np.uint8)
        return [scope.constant(shifted, np.uint8), scale, scope.constant(np.full(len(codes), ZERO), np.uint8)]
    zeros = scope.constant(np.zeros(len(codes)), np.int8)
    largest = int(np.abs(codes.astype(np.int16)).max(initial=0))
    for name in ("int2", "int4"):
        narrow = WEIGHTS[name]
        if narrow.opset <= kind.opset and largest <= narrow.largest:
            packed = scope.packed(codes, narrow.kind)
            return [scope.op("Cast", [packed], to=TensorProto.INT8), scale, zeros]
    return [scope.constant(codes, np.int8), scale, zeros]


def _sum(scope: Scope, _: OnnxForm, node: Sum) -> str:
    grid = scope.value(node.name).grid
    assert grid is not None
    return scope.rounded(scope.op("Add", [scope.float_of(name) for name in node.inputs]), grid, node.low, node.high)


def _concat(scope: Scope, _: OnnxForm, node: Concat) -> str:
    grid = scope.value(node.name).grid
    assert grid is not None
    return scope.rounded(scope.op("Concat", [scope.float_of(name) for name in node.inputs], axis=node.axis), grid)


def _average(scope: Scope, _: OnnxForm, node: Average) -> str:
    made = scope.value(node.name)
    assert made.grid is not None
    source, window = scope.float_of(node.inputs[0]), node.window
    if window is None:
        codes = scope.rounded(scope.op("GlobalAveragePool", [source]), made.grid)
    else:
        codes = scope.rounded(scope.op("AveragePool", [source], **_pool(window)), made.grid)
    return codes if len(made.shape) == MAP else scope.reshaped(codes, made)


def _pool(window: Window) -> dict[str, Any]:
    sizes = {"kernel_shape": list(window.kernel), "strides": list(window.stride), "pads": list(window.padding)}
    return {**sizes, "count_include_pad": 1}


_WRITERS: dict[type[Node], Callable[..., Any]] = {
    Round: _round,
    Layer: _layer,
    Sum: _sum,
    Concat: _concat,
    Average: _average,
    Operation: lambda scope, _, node: emit(scope, node),
}
