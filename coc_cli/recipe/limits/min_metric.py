"""How good the result must be, whatever the baseline is."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, ClassVar

from pydantic import Field

from coc_cli.learning.own_functions import own_functions
from coc_cli.recipe.limits.limit import Limit, Outlook

if TYPE_CHECKING:
    from coc_cli.report.schema.run import StageEntry


class MinMetric(Limit):
    """The accuracy on test, or R2 of numbers, so that more is better for both."""

    name: ClassVar[str] = "min_metric"
    annotation: ClassVar[Any] = Annotated[
        float | None,
        Field(ge=-1e12, le=1e12, description="least accuracy on test, 0 to 1; of numbers, least R2 (1 is perfect)"),
    ]

    def value(self, baseline: StageEntry, result: StageEntry, sign: int) -> float:  # noqa: ARG002
        return result.metric_value if sign > 0 or result.r2 is None else result.r2

    def plan_fault(self, limit: float, outlook: Outlook) -> str | None:  # noqa: ARG002
        if limit <= 1 or own_functions().metric:
            return None
        return f"asks for {limit:g}, but neither accuracy nor R2 is ever above 1"

    def is_met(self, limit: float, value: float) -> bool:
        return value >= limit
