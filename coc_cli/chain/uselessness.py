"""A network that is of no use, noticed: no better than a constant, or nearly one itself."""

from __future__ import annotations

from collections.abc import Iterator

from coc_cli.learning.tasks import Task
from coc_cli.report.schema.part import Interval
from coc_cli.report.schema.run import Details, StageEntry
from coc_cli.units import metric_text

LEAST_SPREAD = 0.1  # of the targets'


def uselessness(task: Task, details: Details, value: float, ci95: Interval, n: int) -> Iterator[str]:
    """Yield why a network is of no use, in sentences; nothing where it is, or where that was not measured.

    Args:
        task: The network's.
        details: With the metric of a constant answer, and how much answers vary.
        value: The metric.
        ci95: Its 95 % interval.
        n: The number of images.
    """
    if details.trivial_value is not None:
        margin = task.sign * (value - details.trivial_value)
        least = task.sign * (ci95[0 if task.sign > 0 else 1] - details.trivial_value)
        shown, constant = (metric_text(task.metric, each) for each in (value, details.trivial_value))
        what = f"answering always the same, which has {constant}"
        if margin <= 0:
            yield f"its {task.metric} of {shown} is no better than {what}"
        elif least <= 0:
            yield f"its {task.metric} of {shown} on {n:,} images cannot be told from {what}"
    if details.answer_spread is not None and details.answer_spread < LEAST_SPREAD:
        yield f"it answers nearly the same for all images: answers vary {details.answer_spread:.1%} as much as targets"


def useless_stages(task: Task, stages: list[StageEntry]) -> list[str]:
    """Return what is to be said of all stages of a run."""
    return [
        f"stage {one.index} {one.name}: {what}"
        for one in stages
        for what in uselessness(task, one, one.metric_value, one.metric_ci95, one.n_test)
    ]
