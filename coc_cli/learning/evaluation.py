"""How well a network predicts, measured on every image of a split."""

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
class ExitEvaluation:
    """The metric of one exit on a split; the final output is the last exit."""

    index: int
    share: float  # fraction of the images that leave here
    metric_value: float | None  # on the images that leave here; None if none does
    metric_all: float  # on all images, had all left here


@dataclass(frozen=True)
class Evaluation:
    """The metric of a network on one split, its exit rule applied."""

    value: float  # the task's metric
    low: float
    high: float
    n: int
    scores: tuple[float, ...]  # image by image, larger is better, for paired comparisons
    exits: tuple[ExitEvaluation, ...]
    details: dict[str, Any]  # further figures of the task
    answers: torch.Tensor  # classes [N], or numbers [N, T] in the targets' own units


SMALLEST_BATCH, LARGEST_BATCH = 16, 512
CPU_PIXELS = 2**16  # in a batch; a ResNet-20 with 18 bof heads takes 6.2 s so, 8.7 s with eight times as many


def outputs(network: Network, split: Split, *, batch: int | None = None) -> list[torch.Tensor]:
    """Return the outputs of all exits on a split, each [N, K], computed in eval mode. The mode is restored."""
    was_training = network.training
    network.eval()
    with torch.no_grad():
        batches = [network(network.normalise(images)) for images, _ in split.batches(batch or _batch(split))]
    network.train(was_training)
    return [torch.cat(pieces) for pieces in zip(*batches, strict=True)]


def _batch(split: Split) -> int:
    *_, height, width = split.images.shape
    fits = CPU_PIXELS // (height * width) if split.targets.device.type == "cpu" else LARGEST_BATCH
    return min(LARGEST_BATCH, max(SMALLEST_BATCH, fits))


def scored(network: Network, split: Split) -> tuple[list[torch.Tensor], torch.Tensor]:
    """Return the outputs of all exits on a split, each [N, K], and their scores by exit and image, [E, N]."""
    task, exit_outputs = task_of(network.spec), outputs(network, split)
    return exit_outputs, torch.stack([task.scores(output, split.targets) for output in exit_outputs])


def exit_of(exit_outputs: list[torch.Tensor], rule: ExitRule | None) -> torch.Tensor:
    """Return, for the outputs of all exits, the exit [N] at which each image leaves: the first whose rule fires."""
    befores = [None, *exit_outputs]
    pairs = zip(exit_outputs[:-1], befores, strict=False)
    fires = [leaves(output, rule, before, exit_) for exit_, (output, before) in enumerate(pairs)]
    return torch.stack([*fires, torch.ones_like(exit_outputs[-1][:, 0]) > 0]).int().argmax(0)


def evaluate(network: Network, split: Split) -> Evaluation:
    """Measure a network on every image of a split, each predicted by the exit at which it leaves.

    Args:
        network: On the split's device; its mode is restored.
        split: Images and targets.

    Returns:
        The task's metric with its 95 % interval and each image's score, and the same metric for every exit.
    """
    task, (exit_outputs, scores) = task_of(network.spec), scored(network, split)
    exits = exit_of(exit_outputs, network.spec.rule)
    chosen = scores.gather(0, exits[None])[0]
    by_exit = []
    for index, all_scores in enumerate(scores):
        here = exits == index
        value = task.value(all_scores[here]) if here.any() else None
        by_exit.append(ExitEvaluation(index, float(here.double().mean()), value, task.value(all_scores)))
    width = exit_outputs[-1].shape[1]  # inner exits may have log-variances behind
    heads = torch.stack([output[:, :width] for output in exit_outputs])  # [E, N, K]
    output = heads[exits, torch.arange(len(exits), device=exits.device)]
    low, high = task.interval(chosen)
    details = task.details(output, split.targets)
    value, scores_ = task.value(chosen), tuple(chosen.tolist())
    return Evaluation(value, low, high, len(split), scores_, tuple(by_exit), details, task.answers(output))


@dataclass(frozen=True)
class Learning:
    """The figures by which epochs are compared, means over exits; larger scores and negative losses are better."""

    value: float  # the metric
    score: float
    negative_loss: float


def learning(network: Network, split: Split) -> Learning:
    """Measure all exits on all images, without the exit rule."""
    task, (exit_outputs, scores) = task_of(network.spec), scored(network, split)
    score = scores.mean()
    loss = torch.stack([task.loss(output, split.targets) for output in exit_outputs]).mean()
    return Learning(task.value(score), float(score), -float(loss))
