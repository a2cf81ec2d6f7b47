"""Exits in ONNX: when images leave, and what is said of them there."""

from __future__ import annotations

from typing import Any

import numpy as np
from onnx import TensorProto

from coc_cli.nets.spec import CONFIDENT_WHEN_LOW
from coc_cli.runtime.graph import IntegerGraph
from coc_cli.runtime.writers.onnx_scope import Scope, described

THRESHOLD = "threshold"
VALUE, EXIT, CONFIDENCE, PROBABILITIES = "value", "exit", "confidence", "probabilities"


def described_outputs(graph: IntegerGraph, images: list[Any]) -> list[Any]:
    numbers = [*images, graph.classes]
    made = [
        described(VALUE, images, TensorProto.INT64) if graph.scale is None else described(VALUE, numbers),
        described(EXIT, images, TensorProto.INT64),
        described(CONFIDENCE, images),
    ]
    return [*made, described(PROBABILITIES, numbers)] if graph.scale is None else made


def leaves(scope: Scope, index: int, numbers: list[str]) -> str | None:
    """Return the name of whether images leave at an exit, bool [N]; None where none ever does."""
    rule = scope.graph.rule
    if rule is None or (rule.measure == "agreement" and index == 0):
        return None
    output = numbers[index]
    if rule.measure == "max_softmax":
        score = scope.reduced("ReduceMax", scope.op("Softmax", [output], axis=1), [1], keep=False)
    elif rule.measure == "entropy":
        logs = scope.op("LogSoftmax", [output], axis=1)
        score = scope.op(
            "Neg", [scope.reduced("ReduceSum", scope.op("Mul", [scope.op("Exp", [logs]), logs]), [1], keep=False)]
        )
    elif rule.measure == "variance":
        half = scope.op(
            "Mul", [_columns(scope, output, scope.graph.classes, 2 * scope.graph.classes), scope.constant(0.5)]
        )
        score = scope.reduced("ReduceMean", scope.op("Exp", [half]), [1], keep=False)
    else:
        score = scope.reduced(
            "ReduceMean", scope.op("Abs", [scope.op("Sub", [output, numbers[index - 1]])]), [1], keep=False
        )
    is_one = not isinstance(rule.threshold, tuple)
    threshold = THRESHOLD if is_one else scope.op("Gather", [THRESHOLD, scope.ints(index)])
    return scope.op("LessOrEqual" if rule.measure in CONFIDENT_WHEN_LOW else "GreaterOrEqual", [score, threshold])


def _columns(scope: Scope, source: str, first: int, last: int) -> str:
    return scope.op("Slice", [source, scope.ints(first), scope.ints(last), scope.ints(1)])


def answer(scope: Scope, numbers: str, index: int) -> dict[str, str]:
    """Write what is said at an exit; return the names by those of the outputs."""
    graph = scope.graph
    exit_ = scope.ints(index)
    if scope.batch:
        exit_ = scope.op("Expand", [exit_, scope.images()])
    if graph.scale is not None:
        mean, std = (scope.constant(part) for part in graph.scale)
        if graph.rule is not None and graph.rule.measure == "variance" and index < len(graph.outputs) - 1:
            numbers = _columns(scope, numbers, 0, graph.classes)
        value = scope.op("Add", [scope.op("Mul", [numbers, std]), mean])
        nothing = scope.op("Expand", [scope.constant([np.nan]), scope.images()])
        return {VALUE: value, EXIT: exit_, CONFIDENCE: nothing}
    probabilities = scope.op("Softmax", [numbers], axis=1)
    value = scope.op("ArgMax", [numbers], axis=1, keepdims=0)
    confidence = scope.reduced("ReduceMax", probabilities, [1], keep=False)
    return {VALUE: value, EXIT: exit_, CONFIDENCE: confidence, PROBABILITIES: probabilities}
