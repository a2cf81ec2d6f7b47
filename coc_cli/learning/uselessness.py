"""A network that is of no use, noticed: no better than a constant, or nearly one itself."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from coc_cli.learning.tasks import Task
from coc_cli.units import metric_text

if TYPE_CHECKING:
    from torch import Tensor

    from coc_cli.data.images import Split

LEAST_SPREAD = 0.1  # of the targets'


def triviality(answers: Tensor, task: Task, split: Split, train: Split) -> tuple[float, float]:
    """Return what always answering the same would score on a split, and how much a network's answers vary.

    Args:
        answers: Of the network on the split, classes [N] or numbers [N, T].
        task: The network's.
        split: Images and targets.
        train: The training images, which decide what is always answered.
    """
    constant = task.constant(train.targets).expand_as(split.targets)
    return task.value(task.score_answers(constant, split.targets)), task.spread(answers, split.targets)


def uselessness(
    task: Task,
    value: float,
    ci95: tuple[float, float],
    n: int,
    *,
    trivial_value: float | None,
    answer_spread: float | None,
) -> Iterator[str]:
    """Yield why a network is of no use, in sentences; nothing where it is, or where that was not measured.

    Args:
        task: The network's.
        value: The metric.
        ci95: Its 95 % interval.
        n: The number of images.
        trivial_value: The metric of always answering the same.
        answer_spread: How much answers vary by how much targets do.
    """
    if trivial_value is not None:
        margin = task.sign * (value - trivial_value)
        least = task.sign * (ci95[0 if task.sign > 0 else 1] - trivial_value)
        shown, constant = (metric_text(task.metric, each) for each in (value, trivial_value))
        what = f"answering always the same, which has {constant}"
        if margin <= 0:
            yield f"its {task.metric} of {shown} is no better than {what}"
        elif least <= 0:
            yield f"its {task.metric} of {shown} on {n:,} images cannot be told from {what}"
    if answer_spread is not None and answer_spread < LEAST_SPREAD:
        yield f"it answers nearly the same for all images: answers vary {answer_spread:.1%} as much as targets"
