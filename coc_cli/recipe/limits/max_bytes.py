"""How large the result's file may be."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, ClassVar

from pydantic import Field

from coc_cli.recipe.limits.limit import Limit, Outlook

MIN_SLACK = 1.05  # the header's length depends on numbers that the plan does not know

if TYPE_CHECKING:
    from coc_cli.report.schema.run import StageEntry


class MaxBytes(Limit):
    """The size of the result's checkpoint."""

    name: ClassVar[str] = "max_bytes"
    annotation: ClassVar[Any] = Annotated[
        int | None, Field(gt=0, le=1_000_000_000_000_000, description="of the result's file")
    ]

    def value(self, baseline: StageEntry, result: StageEntry, sign: int) -> float:  # noqa: ARG002
        return result.checkpoint_bytes

    def is_met(self, limit: float, value: float) -> bool:
        return value <= limit

    def plan_fault(self, limit: int, outlook: Outlook) -> str | None:
        if outlook.checkpoint_bytes <= limit * max(outlook.slack, MIN_SLACK):
            return None
        gives = f"this chain gives about {outlook.checkpoint_bytes} (see coc plan)"
        return f"asks for {limit}, but {gives}; use fewer bits or a smaller student"
