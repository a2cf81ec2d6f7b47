"""How long the result may compute."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, ClassVar

from pydantic import Field

from coc_cli.recipe.limits.limit import Limit

if TYPE_CHECKING:
    from coc_cli.report.schema.run import StageEntry


class MaxLatencyMs(Limit):
    """The CPU time of the result for one test image, measured on this machine."""

    name: ClassVar[str] = "max_latency_ms"
    annotation: ClassVar[Any] = Annotated[
        float | None, Field(gt=0, le=1e9, description="CPU time of the result for one test image in ms, measured here")
    ]
    needs_latency: ClassVar[bool] = True
    is_timed: ClassVar[bool] = True

    def value(self, baseline: StageEntry, result: StageEntry, sign: int) -> float:  # noqa: ARG002
        assert result.latency_ms
        return result.latency_ms.cpu_median

    def is_met(self, limit: float, value: float) -> bool:
        return value <= limit
