"""How many times less CPU time the result must need."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, ClassVar

from pydantic import Field

from coc_cli.recipe.limits.limit import Limit

if TYPE_CHECKING:
    from coc_cli.report.schema.run import StageEntry


class MinSpeedup(Limit):
    """The baseline's CPU time over the result's, measured on this machine."""

    name: ClassVar[str] = "min_speedup"
    annotation: ClassVar[Any] = Annotated[
        float | None, Field(gt=0, le=1e9, description="CPU time of the baseline over the result's, measured here")
    ]
    needs_latency: ClassVar[bool] = True
    is_timed: ClassVar[bool] = True

    def value(self, baseline: StageEntry, result: StageEntry, sign: int) -> float:  # noqa: ARG002
        assert result.latency_ms
        return result.latency_ms.speedup

    def is_met(self, limit: float, value: float) -> bool:
        return value >= limit
