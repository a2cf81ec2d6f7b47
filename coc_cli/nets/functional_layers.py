"""Functions that are layers: called with weights of their own, they become torch.nn modules."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch.nn.functional as F
from torch import Tensor

from coc_cli.nets.traced_values import on_meta, shape_of


@dataclass(frozen=True)
class Conversion:
    """The module that a call of a function amounts to."""

    kind: str  # a class of torch.nn
    arguments: dict[str, Any]  # of its constructor
    tensors: dict[str, Tensor]  # its parameters and buffers
    x: Tensor  # its input
    run: Callable[[Tensor], Tensor]  # what the function gives for an input on the meta device


def _given(**tensors: Tensor | None) -> dict[str, Tensor]:
    return {name: tensor for name, tensor in tensors.items() if tensor is not None}


def _convolution(kind: str, function: Any) -> Callable[..., Conversion]:
    def converted(
        input: Tensor,  # noqa: A002  (torch's name)
        weight: Tensor,
        bias: Tensor | None = None,
        stride: Any = 1,
        padding: Any = 0,
        dilation: Any = 1,
        groups: int = 1,
    ) -> Conversion:
        outs, ins, *kernel = shape_of(weight)
        kernel_size = kernel[0] if len(set(kernel)) == 1 else tuple(kernel)
        arguments = {"in_channels": ins * groups, "out_channels": outs, "kernel_size": kernel_size, "stride": stride}
        arguments |= {"padding": padding, "dilation": dilation, "groups": groups, "bias": bias is not None}
        numbers = (stride, padding, dilation, groups)
        return Conversion(
            kind,
            arguments,
            _given(weight=weight, bias=bias),
            input,
            lambda x: function(x, on_meta(weight), on_meta(bias), *numbers),
        )

    return converted


def _transposed(
    input: Tensor,  # noqa: A002
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Any = 1,
    padding: Any = 0,
    output_padding: Any = 0,
    groups: int = 1,
    dilation: Any = 1,
) -> Conversion:
    ins, outs, *kernel = shape_of(weight)
    arguments = {"in_channels": ins, "out_channels": outs * groups, "kernel_size": tuple(kernel), "stride": stride}
    arguments |= {"padding": padding, "output_padding": output_padding, "groups": groups, "bias": bias is not None}
    numbers = (stride, padding, output_padding, groups, dilation)
    return Conversion(
        "ConvTranspose2d",
        {**arguments, "dilation": dilation},
        _given(weight=weight, bias=bias),
        input,
        lambda x: F.conv_transpose2d(x, on_meta(weight), on_meta(bias), *numbers),  # type: ignore[arg-type]
    )


def _linear(input: Tensor, weight: Tensor, bias: Tensor | None = None) -> Conversion:  # noqa: A002
    outs, ins = shape_of(weight)
    arguments = {"in_features": ins, "out_features": outs, "bias": bias is not None}
    tensors = _given(weight=weight, bias=bias)
    return Conversion("Linear", arguments, tensors, input, lambda x: F.linear(x, on_meta(weight), on_meta(bias)))  # type: ignore[arg-type]


def _layer_norm(
    input: Tensor,  # noqa: A002
    normalized_shape: Any,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    eps: float = 1e-5,
) -> Conversion | None:
    if weight is None:
        return None
    shape = tuple(int(size) for size in normalized_shape)
    arguments = {"normalized_shape": shape, "eps": eps, "bias": bias is not None}
    return Conversion("LayerNorm", arguments, _given(weight=weight, bias=bias), input, lambda x: x.detach())


def _group_norm(
    input: Tensor,  # noqa: A002
    num_groups: int,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    eps: float = 1e-5,
) -> Conversion | None:
    if weight is None:
        return None
    arguments = {"num_groups": int(num_groups), "num_channels": shape_of(weight)[0], "eps": eps}
    return Conversion("GroupNorm", arguments, _given(weight=weight, bias=bias), input, lambda x: x.detach())


def _batch_norm(
    input: Tensor,  # noqa: A002
    running_mean: Tensor | None,
    running_var: Tensor | None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    training: bool = False,  # noqa: ARG001  (a module asks for its own mode)
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> Conversion | None:
    if weight is None or running_mean is None:
        return None
    kind = "BatchNorm2d" if len(shape_of(input)) == len("NCHW") else "BatchNorm1d"
    arguments = {"num_features": shape_of(weight)[0], "eps": eps, "momentum": momentum}
    tensors = _given(weight=weight, bias=bias, running_mean=running_mean, running_var=running_var)
    return Conversion(kind, arguments, tensors, input, lambda x: x.detach())


CONVERSIONS: dict[str, Callable[..., Conversion | None]] = {
    "conv1d": _convolution("Conv1d", F.conv1d),
    "conv2d": _convolution("Conv2d", F.conv2d),
    "conv3d": _convolution("Conv3d", F.conv3d),
    "conv_transpose2d": _transposed,
    "linear": _linear,
    "layer_norm": _layer_norm,
    "group_norm": _group_norm,
    "batch_norm": _batch_norm,
}
