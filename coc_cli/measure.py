"""What a network costs and how well it does: counted, not modelled.

BitOps of a layer = MACs x weight bits x activation bits; an unquantised operand counts 32. Only convolutions and linear
layers count, as is usual in the field.
"""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from coc_cli.nets.spec import FLOAT_BITS, Spec

if TYPE_CHECKING:
    import torch
    from torch import nn

    from coc_cli.data.images import Split
    from coc_cli.nets.network import Network

Z95 = 1.959963984540054  # the 97.5 % point of the normal distribution


@dataclass(frozen=True)
class LayerCost:
    """One convolution or linear layer, for one input image."""

    name: str
    segment: int
    macs: int
    params: int
    weight_bits: int
    activation_bits: int

    @property
    def bitops(self) -> int:
        return self.macs * self.weight_bits * self.activation_bits


@dataclass(frozen=True)
class Cost:
    """A network's cost per image, layer by layer."""

    layers: tuple[LayerCost, ...]
    params: int  # weights, biases and norms; quantiser scales are not counted
    reach: tuple[float, ...] = (1.0,)  # by segment: the share of images that run it

    @property
    def macs(self) -> float:
        return sum(layer.macs * self.reach[layer.segment] for layer in self.layers)

    @property
    def bitops(self) -> float:
        return sum(layer.bitops * self.reach[layer.segment] for layer in self.layers)

    def nominal_ratio(self, baseline: Cost) -> float:
        """Give the papers' figure: MACs ratio x 1024 / (w x a), w and a those of most MACs between first and last."""
        inner = self.layers[1:-1] or self.layers
        macs: Counter[tuple[int, int]] = Counter()
        for layer in inner:
            macs[layer.weight_bits, layer.activation_bits] += layer.macs
        weight, activation = max(macs, key=lambda bits: (macs[bits], bits))
        return baseline.macs / self.macs * FLOAT_BITS**2 / (weight * activation)


def layer_macs(module: nn.Module, x: torch.Tensor) -> dict[str, int]:
    """Count multiply-accumulates of every convolution and linear layer, by name, for one run on x [1, C, H, W].

    A layer that is called twice counts twice. Module and x may lie on the meta device: nothing is computed then.
    """
    import torch

    from coc_cli.nets.cuts import WEIGHTED

    macs: dict[str, int] = {}
    hooks = []
    for name, layer in module.named_modules():
        if isinstance(layer, WEIGHTED):
            macs[name] = 0

            def count(layer: nn.Module, _: Any, output: torch.Tensor, name: str = name) -> None:
                assert isinstance(layer.weight, torch.Tensor)
                macs[name] += output.numel() * layer.weight[0].numel()

            hooks.append(layer.register_forward_hook(count))
    with torch.no_grad():
        module(x)
    for hook in hooks:
        hook.remove()
    return macs


def cost(spec: Spec) -> Cost:
    """Count a network from its spec alone."""
    import torch

    from coc_cli.nets.layers import weight_bits
    from coc_cli.nets.network import build

    network = build(spec, device="meta").eval()
    macs = layer_macs(network, torch.empty(1, *spec.input_shape, device="meta"))
    bits = network.input_bits()
    layers = []
    for (name, layer), node in zip(network.layers.items(), network.layer_nodes, strict=True):
        segment = next(i for i, stretch in enumerate(network.segments) if node.name in stretch.nodes)
        params = sum(p.numel() for n, p in layer.named_parameters() if n != "weight_scale")
        layers.append(LayerCost(name, segment, macs[f"backbone.{name}"], params, weight_bits(layer), bits[name]))
    named = network.named_parameters()
    total = sum(p.numel() for name, p in named if not name.endswith("weight_scale") and not name.startswith("edges."))
    return Cost(tuple(layers), total, (1.0,) * len(network.segments))


@dataclass(frozen=True)
class Evaluation:
    """How well a network does on one split."""

    value: float  # accuracy, 0..1
    low: float
    high: float
    n: int
    loss: float  # mean cross-entropy
    correct: tuple[bool, ...]  # image by image, for paired comparisons

    def correct_hex(self) -> str:
        """Give one bit an image, first image in the highest bit, as hexadecimal."""
        import numpy as np

        return np.packbits(self.correct).tobytes().hex()


def wilson(correct: int, n: int) -> tuple[float, float]:
    """Give the 95 % interval of a proportion (Wilson 1927)."""
    share, z2 = correct / n, Z95**2
    centre = (share + z2 / (2 * n)) / (1 + z2 / n)
    half = Z95 / (1 + z2 / n) * math.sqrt(share * (1 - share) / n + z2 / (4 * n * n))
    return max(0.0, centre - half), min(1.0, centre + half)


def evaluate(network: Network, split: Split, *, batch: int = 512) -> Evaluation:
    """Measure the final output on every image of a split; the network's mode is put back as it was."""
    import torch
    import torch.nn.functional as F

    was_training = network.training
    network.eval()
    right, losses = [], []
    with torch.no_grad():
        for images, targets in split.batches(batch):
            logits = network(network.normalise(images))[-1]
            right.append(logits.argmax(1) == targets)
            losses.append(F.cross_entropy(logits, targets, reduction="sum"))
    network.train(was_training)
    correct = torch.cat(right).tolist()
    low, high = wilson(sum(correct), len(split))
    loss = float(torch.stack(losses).sum()) / len(split)
    return Evaluation(sum(correct) / len(split), low, high, len(split), loss, tuple(correct))
