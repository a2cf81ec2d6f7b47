"""Elementwise operations in ONNX, and those over one dimension."""

from __future__ import annotations

import math
from typing import Any

from coc_cli.errors import StageError
from coc_cli.nets.operations import ATTENTION
from coc_cli.runtime.graph import Operation
from coc_cli.runtime.writers.onnx_emitters import EMITTERS, Emitter, emits, shape_of
from coc_cli.runtime.writers.onnx_scope import AXES_ARE_INPUTS, Scope

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
    rank = len(shape_of(s, node))
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


def _reduction(name: str) -> Emitter:
    def reduce(s: Scope, node: Operation, a: Any) -> str:
        if a.dim is None:
            raise StageError(f"'{node.name}' mixes images, which a runtime cannot", "to")
        dims = [dim % len(shape_of(s, node)) for dim in (a.dim if isinstance(a.dim, tuple | list) else [a.dim])]
        return s.reduced(name, a.x, dims, keep=a.keepdim)

    return reduce


_REDUCTIONS = {"mean": "ReduceMean", "sum": "ReduceSum", "amax": "ReduceMax", "amin": "ReduceMin"}
EMITTERS.update({kind: _reduction(name) for kind, name in _REDUCTIONS.items()})


@emits(ATTENTION)
def _attention(s: Scope, node: Operation, a: Any) -> str:
    if a.is_causal:
        raise StageError(f"'{node.name}' looks back only, for which coc has no ONNX yet", "to")
    rank, width = len(shape_of(s, node)), shape_of(s, node)[-1]
    turned = s.op("Transpose", [a.key], perm=[*range(rank - 2), rank - 1, rank - 2])
    scaled = s.op("Mul", [a.query, s.constant(width**-0.5 if a.scale is None else a.scale)])
    scores = s.op("MatMul", [scaled, turned])
    if a.attn_mask is not None:
        scores = s.op("Add", [scores, a.attn_mask])
    return s.op("MatMul", [s.op("Softmax", [scores], axis=-1), a.value])
