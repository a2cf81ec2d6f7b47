"""Small networks with calibrated quantisers, untrained, and images that they read."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from coc_cli.nets.architectures import resolve
from coc_cli.nets.network import Network, build, fresh
from coc_cli.nets.precision import LayerBits, Precision, with_precision
from coc_cli.nets.quantizer_initialization import initialize_quantizers
from coc_cli.nets.spec import ExitRule, Scale, Spec
from coc_cli.stages.early_exit import EarlyExit


class Noise:
    """Images of noise."""

    def __init__(self, size: int, count: int = 64) -> None:
        generator = torch.Generator().manual_seed(1)
        self.images = torch.randint(0, 256, (count, 3, size, size), dtype=torch.uint8, generator=generator)

    def take(self, indices: Tensor) -> Tensor:
        return self.images[indices]

    def __len__(self) -> int:
        return len(self.images)


def rounded_net(
    arch: str,
    size: int,
    bits: tuple[int, int],
    *,
    exits: int = 0,
    task: Any = "classification",
    head: Any = "pool",
    **args: Any,
) -> tuple[Network, Tensor]:
    """Return a network of so many bits of weights and activations, and normalised images [64, 3, size, size]."""
    torch.manual_seed(0)
    names = {"mean": (0.5,) * 3, "std": (0.25,) * 3, "labels": tuple("abcd")}
    spec = Spec(arch=arch, args=resolve(arch, args), input_shape=(3, size, size), task=task, **names)
    if task == "regression":
        spec = spec.with_changes(scale=Scale(mean=(1.0, 2.0, 3.0, 4.0), std=(2.0, 1.0, 1.0, 1.0)))
    network = fresh(spec)
    if exits:
        limit = {"max_drop": 0.1} if task == "regression" else {}
        measure = "variance" if task == "regression" else "max_softmax"
        with_exits = EarlyExit(exits=exits, head=head, **limit).expect(network.spec)
        network = build(with_exits.with_changes(rule=ExitRule(measure=measure, threshold=0.0, max_drop=0.1)))
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.weight.data.uniform_(0.5, 1.5)
            module.bias.data.uniform_(-0.5, 0.5)
    images = Noise(size)
    precision = Precision(LayerBits(8, 8), LayerBits(*bits), LayerBits(8, 8), 8)
    rounded: Any = initialize_quantizers(network, with_precision(network.spec, precision), images, "cpu")  # type: ignore[arg-type]
    return rounded.eval(), rounded.normalise(images.images).contiguous()
