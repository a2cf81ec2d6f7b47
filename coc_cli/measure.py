"""What a network costs and how well it does: counted, not modelled.

BitOps of a layer = MACs x weight bits x activation bits; an unquantised operand counts 32. Only convolutions and linear
layers count, as is usual in the field.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from coc_cli.nets.spec import ExitRule, Spec

if TYPE_CHECKING:
    import torch

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
    shape: tuple[int, ...] = ()  # of the weights

    @property
    def bitops(self) -> int:
        return self.macs * self.weight_bits * self.activation_bits

    @property
    def is_head(self) -> bool:
        """Tell whether it belongs to an exit."""
        return self.name.startswith("exits.")


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

    def leaving(self, shares: Sequence[float]) -> Cost:
        """Give the mean cost when that share of the images leaves at each exit, the final one included."""
        reach = tuple(sum(shares[index:]) for index in range(len(self.reach)))
        return Cost(self.layers, self.params, reach)

    def cheapest(self) -> Cost:
        """Give the cost of an image that leaves at the first exit."""
        return self.leaving([1.0, *[0.0] * (len(self.reach) - 1)])

    def nominal_ratio(self, baseline: Cost) -> float:
        """Give the papers' figure: the ratio of MACs x w x a, heads left out as they are there.

        w and a are those of most MACs between first and last layer; against a float baseline this is MACs ratio x
        1024 / (w x a).
        """
        return baseline._nominal_bitops() / self._nominal_bitops()

    def _nominal_bitops(self) -> float:
        backbone = tuple(layer for layer in self.layers if not layer.is_head)
        macs: Counter[tuple[int, int]] = Counter()
        for layer in backbone[1:-1] or backbone:
            macs[layer.weight_bits, layer.activation_bits] += layer.macs
        weight, activation = max(macs, key=lambda bits: (macs[bits], bits))
        return Cost(backbone, self.params, self.reach).macs * weight * activation


def cost(spec: Spec) -> Cost:
    """Count a network from its spec alone."""
    import torch

    from coc_cli.nets.layers import weight_bits
    from coc_cli.nets.macs import layer_macs
    from coc_cli.nets.network import build

    network = build(spec, device="meta").eval()
    macs = layer_macs(network, torch.empty(1, *spec.input_shape, device="meta"))
    bits = network.input_bits()
    layers = []
    for (name, layer), node in zip(network.layers.items(), network.layer_nodes, strict=True):
        segment = next(i for i, stretch in enumerate(network.segments) if node.name in stretch.nodes)
        params = sum(p.numel() for n, p in layer.named_parameters() if n != "weight_scale")
        assert isinstance(layer.weight, torch.Tensor)
        shape = tuple(layer.weight.shape)
        layers.append(LayerCost(name, segment, macs[str(node.target)], params, weight_bits(layer), bits[name], shape))
    named = network.named_parameters()
    total = sum(p.numel() for name, p in named if not name.endswith("weight_scale") and not name.startswith("edges."))
    return Cost(tuple(layers), total, (1.0,) * len(network.segments))


@dataclass(frozen=True)
class ExitShare:
    """What one exit does on a split; the final output is the last."""

    index: int
    share: float  # of the images that leave here
    metric_value: float | None  # accuracy on the images that leave here; None if none does
    metric_all: float  # accuracy on all images, had all left here


@dataclass(frozen=True)
class Evaluation:
    """How well a network does on one split, its exit rule applied."""

    value: float  # accuracy, 0..1
    low: float
    high: float
    n: int
    correct: tuple[bool, ...]  # image by image, for paired comparisons
    exits: tuple[ExitShare, ...]

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


def outputs(network: Network, split: Split, *, batch: int = 512) -> torch.Tensor:
    """Give the outputs of all exits on a whole split, in eval mode; [E, N, classes]. The mode is put back."""
    import torch

    was_training = network.training
    network.eval()
    with torch.no_grad():
        found = [torch.stack(network(network.normalise(images))) for images, _ in split.batches(batch)]
    network.train(was_training)
    return torch.cat(found, 1)


def exit_of(logits: torch.Tensor, rule: ExitRule | None) -> torch.Tensor:
    """Give, for logits [E, N, classes], the exit [N] at which each image leaves: the first whose rule fires."""
    import torch

    from coc_cli.nets.network import leaves

    fires = torch.stack([*[leaves(output, rule) for output in logits[:-1]], torch.ones_like(logits[-1, :, 0]) > 0])
    return fires.int().argmax(0)


def evaluate(network: Network, split: Split) -> Evaluation:
    """Measure a network on every image of a split."""
    logits = outputs(network, split)
    right = logits.argmax(2) == split.targets  # [E, N]
    exits = exit_of(logits, network.spec.rule)
    correct = right.gather(0, exits[None])[0].tolist()
    shares = []
    for index in range(len(logits)):
        here = exits == index
        value = float(right[index][here].double().mean()) if here.any() else None
        share = float(here.double().mean())
        shares.append(ExitShare(index, share, value, float(right[index].double().mean())))
    n = len(split)
    low, high = wilson(sum(correct), n)
    return Evaluation(sum(correct) / n, low, high, n, tuple(correct), tuple(shares))


@dataclass(frozen=True)
class Learning:
    """What training looks at after an epoch, larger is better: mean accuracy over exits, then mean negative loss."""

    accuracy: float
    negative_loss: float


def learning(network: Network, split: Split) -> Learning:
    """Measure all exits alike, whatever the exit rule says."""
    import torch
    import torch.nn.functional as F

    logits = outputs(network, split)
    accuracy = float((logits.argmax(2) == split.targets).double().mean())
    loss = torch.stack([F.cross_entropy(output, split.targets) for output in logits]).mean()
    return Learning(accuracy, -float(loss))
