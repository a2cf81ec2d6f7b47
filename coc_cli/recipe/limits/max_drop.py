"""How much worse than the baseline the result may be."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, ClassVar

from pydantic import Field

from coc_cli.recipe.limits.limit import Limit

SMALLEST_DIFFERENCE = 1e-12  # between accuracies that are equal but for rounding

if TYPE_CHECKING:
    from coc_cli.report.schema.run import StageEntry


class MaxDrop(Limit):
    """The loss on test against the baseline, in the metric's unit."""

    name: ClassVar[str] = "max_drop"
    annotation: ClassVar[Any] = Annotated[
        float | None,
        Field(ge=-1e12, le=1e12, description="greatest loss on test against the baseline, in the metric's unit"),
    ]

    def value(self, baseline: StageEntry, result: StageEntry, sign: int) -> float:
        return sign * (baseline.metric_value - result.metric_value)

    def is_met(self, limit: float, value: float) -> bool:
        return value <= limit + SMALLEST_DIFFERENCE
