"""A network that is of no use, noticed: no better than a constant, or nearly one itself."""

from __future__ import annotations

from collections.abc import Iterator

from coc_cli.learning.tasks import Task
from coc_cli.report.schema.run import StageEntry, StageResult
from coc_cli.units import metric_text

LEAST_SPREAD = 0.1  # of the targets'


def uselessness(result: StageResult | StageEntry, task: Task) -> Iterator[str]:
    """Yield why a network is of no use, in sentences; nothing where it is, or where that was not measured."""
    details = result.details if isinstance(result, StageResult) else result
    trivial, spread = details.trivial_value, details.answer_spread
    if trivial is not None:
        worst_end = result.metric_ci95[0 if task.sign > 0 else 1]
        value, constant = (metric_text(task.metric, each) for each in (result.metric_value, trivial))
        what = f"answering always the same, which has {constant}"
        if task.sign * (result.metric_value - trivial) <= 0:
            yield f"its {task.metric} of {value} is no better than {what}"
        elif task.sign * (worst_end - trivial) <= 0:
            yield f"its {task.metric} of {value} on {result.n_test} test images cannot be told from {what}"
    if spread is not None and spread < LEAST_SPREAD:
        yield f"it answers nearly the same for all images: answers vary {spread:.1%} as much as targets"
