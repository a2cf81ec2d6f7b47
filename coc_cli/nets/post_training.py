"""Quantising without training: scales from whole distributions, and what rounding shifts on average put back.

Means are corrected as in Nagel et al. 2019, "Data-free quantization through weight equalization and bias correction",
section 4.2, but on training images: layer by layer, each seeing what the corrected ones before it give.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from coc_cli.nets.layers import BATCH_NORM, ActivationQuantizer
from coc_cli.nets.lsq import positive
from coc_cli.nets.network import Network

if TYPE_CHECKING:
    from coc_cli.data.images import Split

MOST_IMAGES, MOST_PIXELS = 512, 1 << 22  # of calibration
BINS, STEPS = 4096, 90
FINEST = 0.01  # of the scale that clips nothing, between two that are tried
NORM = 3.0  # of the error; with squares, the rare large values of a sum are clipped too much


@torch.no_grad()
def calibrate(quantized: Network, network: Network, train: Split) -> None:
    """Calibrate the quantisers of a network that will not be trained, in place.

    Args:
        quantized: With quantisers whose signs and scales are set; scales of edges and biases are set anew.
        network: The same network before it was quantised.
        train: Its first images are used.
    """
    *_, height, width = train.images.shape
    count = min(MOST_IMAGES, len(train), max(2, MOST_PIXELS // (height * width)))
    x = network.normalise(train.take(torch.arange(count)))
    quantized.eval()
    _set_scales(quantized, x)
    _correct_biases(quantized, network.eval(), x)


def _set_scales(network: Network, x: Tensor) -> None:
    """Set the scale of each edge to that of least error over all values that it has without rounding."""
    edges = [module for module in network.edges.values() if isinstance(module, ActivationQuantizer)]
    largest = [torch.zeros((), device=x.device) for _ in edges]
    histograms = [torch.zeros(BINS, device=x.device) for _ in edges]
    seen = {edge: place for place, edge in enumerate(edges)}

    def widest(edge: ActivationQuantizer, values: Tensor) -> None:
        largest[seen[edge]] = torch.maximum(largest[seen[edge]], values.abs().max())

    def counted(edge: ActivationQuantizer, values: Tensor) -> None:
        high = float(largest[seen[edge]])
        histograms[seen[edge]] += torch.histc(values.float(), BINS, min=-high if edge.codes[0] < 0 else 0.0, max=high)

    for observer in (widest, counted):
        with _observed(edges, observer):
            network(x)
    for edge, high, histogram in zip(edges, largest, histograms, strict=True):
        if float(high) > 0 and edge.edge.bits > 1:
            edge.scale.copy_(_least_error(histogram, float(high), edge.codes))


@contextmanager
def _observed(edges: list[ActivationQuantizer], observer: Any) -> Iterator[None]:
    """Let edges pass values unchanged to what reads them, and to an observer."""

    def hook(edge: nn.Module, inputs: tuple[Tensor, ...], _: Tensor) -> Tensor:
        observer(edge, inputs[0])
        return inputs[0]

    handles = [edge.register_forward_hook(hook) for edge in edges]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _least_error(histogram: Tensor, high: float, codes: tuple[int, int]) -> Tensor:
    """Return the scale with which rounding the values of a histogram has the smallest error."""
    low_code, high_code = codes
    low = -high if low_code < 0 else 0.0
    centres = low + (torch.arange(BINS, device=histogram.device) + 0.5) * ((high - low) / BINS)
    scales = high / high_code * (1 - FINEST * torch.arange(STEPS, device=histogram.device))
    rounded = (centres / scales[:, None]).round_().clamp_(low_code, high_code).mul_(scales[:, None])
    errors = rounded.sub_(centres).abs_().pow_(NORM).mul_(histogram).sum(1)
    return positive(scales[errors.argmin()])


def _correct_biases(quantized: Network, network: Network, x: Tensor) -> None:
    """Shift biases, in the order in which they are computed, so that every channel's mean is that without rounding."""
    layers = {name: module for name, module in quantized.named_modules() if _has_bias(module)}
    originals = dict(network.named_modules())
    means: dict[str, Tensor] = {}

    def note(name: str) -> Any:
        return lambda module, _, output: means.__setitem__(name, _channel_means(module, output))

    def correct(name: str) -> Any:
        def shifted(module: nn.Module, _: Any, output: Tensor) -> Tensor:
            shift = means[name] - _channel_means(module, output)
            module.bias.add_(shift)  # type: ignore[union-attr, operator]
            return output + shift.view([-1, *[1] * (output.dim() - 2)] if not isinstance(module, nn.Linear) else [-1])

        return shifted

    for modules, hook in (({name: originals[name] for name in layers}, note), (layers, correct)):
        handles = [module.register_forward_hook(hook(name)) for name, module in modules.items()]
        (network if hook is note else quantized)(x)
        for handle in handles:
            handle.remove()


def _has_bias(module: nn.Module) -> bool:
    return isinstance(module, nn.Conv2d | nn.Linear | BATCH_NORM) and module.bias is not None


def _channel_means(module: nn.Module, output: Tensor) -> Tensor:
    """Return the mean [C] of each channel: the last dimension of a linear layer, else the second."""
    channels_first = output if isinstance(module, nn.Linear) else output.movedim(1, -1)
    return channels_first.flatten(0, -2).mean(0)
