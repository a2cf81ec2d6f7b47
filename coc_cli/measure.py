"""What a network costs and how well it does: counted, not modelled.

BitOps of a layer = MACs x weight bits x activation bits; an unquantised operand counts 32. Only convolutions and linear
layers count, as is usual in the field.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from coc_cli.nets.spec import ExitRule, Spec

if TYPE_CHECKING:
    import torch

    from coc_cli.data.images import Split
    from coc_cli.nets.network import Network


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
    metric_value: float | None  # on the images that leave here; None if none does
    metric_all: float  # on all images, had all left here


@dataclass(frozen=True)
class Evaluation:
    """How well a network does on one split, its exit rule applied."""

    value: float  # the task's metric
    low: float
    high: float
    n: int
    scores: tuple[float, ...]  # image by image, larger is better, for paired comparisons
    exits: tuple[ExitShare, ...]
    details: dict[str, Any]  # further figures of the task


SMALLEST_BATCH, LARGEST_BATCH = 16, 512
CPU_PIXELS = 2**16  # in a batch; a ResNet-20 with 18 bof heads takes 6.2 s so, 8.7 s with eight times as many


def outputs(network: Network, split: Split, *, batch: int | None = None) -> list[torch.Tensor]:
    """Give the outputs of all exits on a whole split, in eval mode, each [N, K]. The mode is put back."""
    import torch

    was_training = network.training
    network.eval()
    with torch.no_grad():
        found = [network(network.normalise(images)) for images, _ in split.batches(batch or _batch(split))]
    network.train(was_training)
    return [torch.cat(pieces) for pieces in zip(*found, strict=True)]


def _batch(split: Split) -> int:
    *_, height, width = split.images.shape
    fits = CPU_PIXELS // (height * width) if split.targets.device.type == "cpu" else LARGEST_BATCH
    return min(LARGEST_BATCH, max(SMALLEST_BATCH, fits))


def scored(network: Network, split: Split) -> tuple[list[torch.Tensor], torch.Tensor]:
    """Give the outputs of all exits on a whole split, each [N, K], and how well each answers each image, [E, N]."""
    import torch

    from coc_cli.tasks import task_of

    task, given = task_of(network.spec), outputs(network, split)
    return given, torch.stack([task.scores(output, split.targets) for output in given])


def exit_of(given: list[torch.Tensor], rule: ExitRule | None) -> torch.Tensor:
    """Give, for the outputs of all exits, the exit [N] at which each image leaves: the first whose rule fires."""
    import torch

    from coc_cli.nets.rules import leaves

    befores = [None, *given]
    fires = [leaves(output, rule, before) for output, before in zip(given[:-1], befores, strict=False)]
    return torch.stack([*fires, torch.ones_like(given[-1][:, 0]) > 0]).int().argmax(0)


def evaluate(network: Network, split: Split) -> Evaluation:
    """Measure a network on every image of a split."""
    import torch

    from coc_cli.tasks import task_of

    task, (given, scores) = task_of(network.spec), scored(network, split)
    exits = exit_of(given, network.spec.rule)
    chosen = scores.gather(0, exits[None])[0]
    shares = []
    for index, everyone in enumerate(scores):
        here = exits == index
        value = task.value(everyone[here]) if here.any() else None
        shares.append(ExitShare(index, float(here.double().mean()), value, task.value(everyone)))
    answers = torch.stack([task.answers(output) for output in given])  # [E, N, ...]
    answer = answers[exits, torch.arange(len(exits), device=exits.device)]
    low, high = task.interval(chosen)
    details = task.details(answer, split.targets)
    return Evaluation(task.value(chosen), low, high, len(split), tuple(chosen.tolist()), tuple(shares), details)


@dataclass(frozen=True)
class Learning:
    """What training looks at after an epoch, a mean over exits; scores and negative losses are better when larger."""

    value: float  # the metric
    score: float
    negative_loss: float


def learning(network: Network, split: Split) -> Learning:
    """Measure all exits alike, whatever the exit rule says."""
    import torch

    from coc_cli.tasks import task_of

    task, (given, scores) = task_of(network.spec), scored(network, split)
    score = scores.mean()
    loss = torch.stack([task.loss(output, split.targets) for output in given]).mean()
    return Learning(task.value(score), float(score), -float(loss))
