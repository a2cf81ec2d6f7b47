"""How many times fewer bit operations the result must need."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, ClassVar

from pydantic import Field

from coc_cli.recipe.limits.limit import Limit, Outlook

if TYPE_CHECKING:
    from coc_cli.report.schema.run import StageEntry


class MinBitopsRatio(Limit):
    """The baseline's strict BitOps over the result's."""

    name: ClassVar[str] = "min_bitops_ratio"
    annotation: ClassVar[Any] = Annotated[
        float | None, Field(gt=0, le=1e9, description="baseline's BitOps over the result's")
    ]

    def value(self, baseline: StageEntry, result: StageEntry, sign: int) -> float:  # noqa: ARG002
        return result.bitops_ratio

    def is_met(self, limit: float, value: float) -> bool:
        return value >= limit

    def plan_fault(self, limit: float, outlook: Outlook) -> str | None:
        if outlook.bitops_ratio * outlook.slack >= limit:
            return None
        gives = f"this chain gives {outlook.bitops_ratio:.1f} at best (see coc plan)"
        return f"asks for {limit:g}, but {gives}; use fewer bits or a smaller student"
