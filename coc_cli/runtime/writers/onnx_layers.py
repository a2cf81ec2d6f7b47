"""Layers and norms in ONNX, where they compute in float32."""

from __future__ import annotations

from typing import Any

import numpy as np

from coc_cli.errors import StageError
from coc_cli.runtime.graph import Operation
from coc_cli.runtime.writers.onnx_emitters import MATRIX, emits, shape_of
from coc_cli.runtime.writers.onnx_scope import Scope


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
    if len(shape_of(s, node)) == MATRIX:
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
    shape, groups = shape_of(s, node), a.num_groups
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
    channels = shape_of(s, node)[1]
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
