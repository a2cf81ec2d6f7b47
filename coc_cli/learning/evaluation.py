"""How well a network does: measured on every image of a split."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch

from coc_cli.learning.tasks import task_of
from coc_cli.nets.exit_rules import leaves
from coc_cli.nets.spec import ExitRule

if TYPE_CHECKING:
    from coc_cli.data.images import Split
    from coc_cli.nets.network import Network


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
    """Return the outputs of all exits on a whole split, in eval mode, each [N, K]. The mode is put back."""
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
    """Return the outputs of all exits on a whole split, each [N, K], and how well each answers each image, [E, N]."""
    task, given = task_of(network.spec), outputs(network, split)
    return given, torch.stack([task.scores(output, split.targets) for output in given])


def exit_of(given: list[torch.Tensor], rule: ExitRule | None) -> torch.Tensor:
    """Return, for the outputs of all exits, the exit [N] at which each image leaves: the first whose rule fires."""
    befores = [None, *given]
    fires = [leaves(output, rule, before) for output, before in zip(given[:-1], befores, strict=False)]
    return torch.stack([*fires, torch.ones_like(given[-1][:, 0]) > 0]).int().argmax(0)


def evaluate(network: Network, split: Split) -> Evaluation:
    """Measure a network on every image of a split."""
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
    task, (given, scores) = task_of(network.spec), scored(network, split)
    score = scores.mean()
    loss = torch.stack([task.loss(output, split.targets) for output in given]).mean()
    return Learning(task.value(score), float(score), -float(loss))
