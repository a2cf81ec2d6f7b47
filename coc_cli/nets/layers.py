"""Layers whose forward pass rounds: convolution, linear, and the quantiser of a tensor between layers."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from coc_cli.nets.lsq import SMALLEST_SCALE, best_scale, code_range, fake_quantize, power_of_two
from coc_cli.nets.spec import FLOAT_BITS, Edge

Layer = nn.Conv2d | nn.Linear


class Scaled(nn.Module):
    """What quantisers share: whether their scales are powers of two, and whether they are compiled."""

    power_of_two = False
    compiled = False

    @property
    def scales(self) -> list[nn.Parameter]:
        """The module's own learned scales."""
        return [getattr(self, name) for name in ("weight_scale", "scale") if hasattr(self, name)]

    def used(self, scale: Tensor) -> Tensor:
        """Return a learned scale as it is used."""
        return power_of_two(scale) if self.power_of_two else scale


class QuantizedWeight(Scaled):
    """What quantised layers share: latent float weights and one learned scale per output channel."""

    weight: Tensor
    bits: int
    deviation: Tensor | None = None  # that its weights are kept at while they are trained; None: as they are

    def add_scale(self, bits: int) -> None:
        self.bits = bits
        self.weight_scale = nn.Parameter(torch.ones(self.weight.shape[0], device=self.weight.device))

    def scale_for_weight(self) -> Tensor:
        """Return the scale in a shape that broadcasts against the weight: [O, 1, 1, 1] or [O, 1]."""
        return self.used(self.weight_scale).view(-1, *[1] * (self.weight.dim() - 1))

    def latent_weight(self) -> Tensor:
        """Return the weights before they are rounded."""
        if self.deviation is None:
            return self.weight
        return (self.weight - self.weight.mean()) / (self.weight.std() + SMALLEST_SCALE) * self.deviation

    def rounded_weight(self) -> Tensor:
        weight = self.latent_weight()
        return fake_quantize(weight, self.scale_for_weight(), self.bits, signed=True, count=weight[0].numel())

    @torch.no_grad()
    def calibrate(self) -> None:
        """Set the scales to those with the smallest square error on the present weights."""
        self.weight_scale.copy_(best_scale(self.latent_weight().flatten(1), self.bits, signed=True))


@contextmanager
def normalised_weights(network: nn.Module) -> Iterator[None]:
    """Let the latent weights of each quantised layer have mean 0 and the deviation that they have now.

    In the end the weights are what they were normalised to. Li et al. 2020, "Additive Powers-of-Two Quantization",
    section 2.3.
    """
    layers = [module for module in network.modules() if isinstance(module, QuantizedWeight)]
    layers = [layer for layer in layers if layer.weight.numel() > 1]  # one weight has no deviation
    for layer in layers:
        layer.deviation = layer.weight.detach().std()
        layer.calibrate()
    yield
    with torch.no_grad():
        for layer in layers:
            layer.weight.copy_(layer.latent_weight())
            layer.deviation = None


class QuantizedConv2d(QuantizedWeight, nn.Conv2d):
    """A convolution that runs on rounded weights."""

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self._conv_forward(x, self.rounded_weight(), self.bias)
        return y


class QuantizedLinear(QuantizedWeight, nn.Linear):
    """A linear layer that runs on rounded weights."""

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(x, self.rounded_weight(), self.bias)


class ActivationQuantizer(Scaled):
    """Rounds a tensor between layers; zero point 0, one learned scale.

    While `samples` is a list it only observes: tensors pass unchanged, and `samples` collects values for `calibrate`.
    """

    def __init__(self, edge: Edge) -> None:
        super().__init__()
        self.edge = edge
        self.scale = nn.Parameter(torch.ones(()))
        self.samples: list[Tensor] | None = None

    def forward(self, x: Tensor) -> Tensor:
        if self.samples is not None:
            self.samples.append(x.detach().flatten()[:: max(1, x.numel() // 8192)].float())
            return x
        count = x.shape[1:].numel() if x.dim() else 1
        bits, signed, low = self.edge.bits, self.edge.signed, self.edge.low
        scale, compiled = self.used(self.scale), self.compiled
        return fake_quantize(x, scale, bits, signed=signed, low=low, count=count, compiled=compiled)

    @torch.no_grad()
    def calibrate(self) -> None:
        """Set sign and scale from the observed values; signed if one is negative."""
        assert self.samples, "calibrate needs values to have been seen"
        values = torch.cat(self.samples)
        self.samples = None
        self.edge = edge = self.edge.with_sign(bool((values < 0).any()))
        self.scale.copy_(best_scale(values[None], edge.bits, signed=edge.signed, low=edge.low)[0])

    @property
    def codes(self) -> tuple[int, int]:
        """The lowest and the highest code."""
        return code_range(self.edge.bits, signed=self.edge.signed, low=self.edge.low)

    def extra_repr(self) -> str:
        return f"bits={self.edge.bits}, codes={self.codes}"


def weight_bits(layer: nn.Module) -> int:
    """Return the bits of a layer's weights; 32 where they are not quantised."""
    return layer.bits if isinstance(layer, QuantizedWeight) else FLOAT_BITS


def resized(layer: nn.Module, numbers: dict[str, int]) -> nn.Module:
    """Return a fresh module of the same class with other constructor numbers (in, out, groups, features).

    All else (kernel, stride, padding, bias, whatever a subclass adds) stays as it is.
    """
    fresh: Any = copy.copy(layer)
    fresh._parameters, fresh._buffers = dict(layer._parameters), dict(layer._buffers)  # noqa: SLF001
    if isinstance(layer, CONVOLUTION):
        fresh.in_channels, fresh.out_channels, fresh.groups = numbers["in"], numbers["out"], numbers["groups"]
        first, second = ("in", "out") if layer.transposed else ("out", "in")
        weight = (numbers[first], numbers[second] // numbers["groups"], *layer.kernel_size)
        _empty(fresh, weight=weight, bias=(numbers["out"],))
    elif isinstance(layer, nn.Linear):
        fresh.in_features, fresh.out_features = numbers["in"], numbers["out"]
        _empty(fresh, weight=(numbers["out"], numbers["in"]), bias=(numbers["out"],))
    else:
        features = (numbers["features"],)
        if isinstance(layer, nn.LayerNorm):
            fresh.normalized_shape = features
        elif isinstance(layer, nn.GroupNorm):
            fresh.num_channels, fresh.num_groups = numbers["features"], numbers["groups"]
        else:
            assert isinstance(layer, BATCH_NORM | INSTANCE_NORM), f"no rule to remake {type(layer).__name__}"
            fresh.num_features = numbers["features"]
        _empty(fresh, weight=features, bias=features, running_mean=features, running_var=features)
    fresh.reset_parameters()
    return fresh  # type: ignore[no-any-return]


def _empty(module: nn.Module, **shapes: tuple[int, ...]) -> None:
    """Replace a module's tensors of these names, where it has them, by empty ones of these shapes."""
    for name, shape in shapes.items():
        old = getattr(module, name, None)
        if isinstance(old, nn.Parameter):
            setattr(module, name, nn.Parameter(old.new_empty(shape)))
        elif old is not None:
            setattr(module, name, old.new_empty(shape))


BATCH_NORM = nn.BatchNorm1d | nn.BatchNorm2d
INSTANCE_NORM = nn.InstanceNorm1d | nn.InstanceNorm2d
CONVOLUTION = nn.Conv1d | nn.Conv2d | nn.ConvTranspose1d | nn.ConvTranspose2d


def numbers_of(layer: nn.Module) -> dict[str, int] | None:
    """Return the constructor numbers of a module that pruning can change; None for modules without any."""
    if isinstance(layer, CONVOLUTION):
        return {"in": layer.in_channels, "out": layer.out_channels, "groups": layer.groups}
    if isinstance(layer, nn.Linear):
        return {"in": layer.in_features, "out": layer.out_features}
    if isinstance(layer, nn.GroupNorm):
        return {"features": layer.num_channels, "groups": layer.num_groups}
    if isinstance(layer, BATCH_NORM | INSTANCE_NORM):
        return {"features": layer.num_features}
    if isinstance(layer, nn.LayerNorm) and len(layer.normalized_shape) == 1:
        return {"features": layer.normalized_shape[0]}
    return None


def quantized(layer: Layer, bits: int) -> QuantizedConv2d | QuantizedLinear:
    """Return a quantised layer of the same shape that shares no tensor with this one."""
    numbers = numbers_of(layer)
    assert numbers is not None
    fresh: Any = resized(layer, numbers)
    fresh.__class__ = QuantizedLinear if isinstance(layer, nn.Linear) else QuantizedConv2d
    fresh.add_scale(bits)
    return fresh  # type: ignore[no-any-return]
