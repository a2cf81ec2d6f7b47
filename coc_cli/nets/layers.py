"""Layers whose forward pass rounds: convolution, linear, and the quantiser of a tensor between layers."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from coc_cli.nets.lsq import best_scale, code_range, fake_quantize
from coc_cli.nets.spec import FLOAT_BITS, Edge

Layer = nn.Conv2d | nn.Linear


class QuantizedWeight(nn.Module):
    """What quantised layers share: latent float weights and one learned scale per output channel."""

    weight: Tensor
    bits: int

    def add_scale(self, bits: int) -> None:
        self.bits = bits
        self.weight_scale = nn.Parameter(torch.ones(self.weight.shape[0], device=self.weight.device))

    def scale_for_weight(self) -> Tensor:
        """Give the scale in a shape that broadcasts against the weight: [O, 1, 1, 1] or [O, 1]."""
        return self.weight_scale.view(-1, *[1] * (self.weight.dim() - 1))

    def rounded_weight(self) -> Tensor:
        return fake_quantize(self.weight, self.scale_for_weight(), self.bits, signed=True, count=self.weight[0].numel())

    @torch.no_grad()
    def calibrate(self) -> None:
        """Set the scales to those with the least square error on the weights as they are."""
        self.weight_scale.copy_(best_scale(self.weight.flatten(1), self.bits, signed=True))


class QuantizedConv2d(QuantizedWeight, nn.Conv2d):
    """A convolution that runs on rounded weights."""

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self._conv_forward(x, self.rounded_weight(), self.bias)
        return y


class QuantizedLinear(QuantizedWeight, nn.Linear):
    """A linear layer that runs on rounded weights."""

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(x, self.rounded_weight(), self.bias)


class ActivationQuantizer(nn.Module):
    """Rounds a tensor between layers; zero point 0, one learned scale.

    While `samples` is a list it only looks on: all passes unchanged, and some of the values are kept for `calibrate`.
    """

    def __init__(self, edge: Edge) -> None:
        super().__init__()
        self.bits, self.signed = edge.bits, edge.signed
        self.scale = nn.Parameter(torch.ones(()))
        self.samples: list[Tensor] | None = None

    def forward(self, x: Tensor) -> Tensor:
        if self.samples is not None:
            self.samples.append(x.detach().flatten()[:: max(1, x.numel() // 8192)].float())
            return x
        return fake_quantize(x, self.scale, self.bits, signed=self.signed, count=x[0].numel())

    @torch.no_grad()
    def calibrate(self) -> None:
        """Set sign and scale from the values seen; signed where one was negative."""
        assert self.samples, "calibrate needs values to have been seen"
        values = torch.cat(self.samples)
        self.samples = None
        self.signed = bool((values < 0).any())
        self.scale.copy_(best_scale(values[None], self.bits, signed=self.signed)[0])

    def extra_repr(self) -> str:
        return f"bits={self.bits}, codes={code_range(self.bits, signed=self.signed)}"


def weight_bits(layer: nn.Module) -> int:
    """Give the bits of a layer's weights; 32 where they are not quantised."""
    return layer.bits if isinstance(layer, QuantizedWeight) else FLOAT_BITS


def remade(layer: nn.Module, numbers: dict[str, int], kind: type[nn.Module] | None = None) -> nn.Module:
    """Give a fresh module with other constructor numbers (in, out, groups, features), of class `kind` if given.

    All else (kernel, stride, padding, bias) stays as it is.
    """
    make: Any = kind or type(layer)
    if isinstance(layer, nn.Conv2d):
        made: nn.Module = make(
            numbers["in"],
            numbers["out"],
            layer.kernel_size,
            layer.stride,
            layer.padding,
            layer.dilation,
            numbers["groups"],
            bias=layer.bias is not None,
            padding_mode=layer.padding_mode,
            device=layer.weight.device,
        )
    elif isinstance(layer, nn.Linear):
        made = make(numbers["in"], numbers["out"], bias=layer.bias is not None, device=layer.weight.device)
    else:
        assert isinstance(layer, nn.BatchNorm2d | nn.BatchNorm1d), f"no rule to remake {type(layer).__name__}"
        made = make(numbers["features"], layer.eps, layer.momentum, layer.affine, layer.track_running_stats)
    return made


def numbers_of(layer: nn.Module) -> dict[str, int] | None:
    """Give the constructor numbers of a module that has some that pruning can change; None for all others."""
    if isinstance(layer, nn.Conv2d):
        return {"in": layer.in_channels, "out": layer.out_channels, "groups": layer.groups}
    if isinstance(layer, nn.Linear):
        return {"in": layer.in_features, "out": layer.out_features}
    if isinstance(layer, nn.BatchNorm2d | nn.BatchNorm1d):
        return {"features": layer.num_features}
    return None


def quantized(layer: Layer, bits: int) -> QuantizedConv2d | QuantizedLinear:
    """Give a quantised layer of the same shape; it shares no tensor with the one given."""
    numbers = numbers_of(layer)
    assert numbers is not None
    made = remade(layer, numbers, QuantizedLinear if isinstance(layer, nn.Linear) else QuantizedConv2d)
    assert isinstance(made, QuantizedConv2d | QuantizedLinear)
    made.add_scale(bits)
    return made
