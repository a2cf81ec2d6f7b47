"""How many of the result's layers must run on integers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, ClassVar

from pydantic import Field

from coc_cli.recipe.limits.limit import Limit

if TYPE_CHECKING:
    from coc_cli.report.schema.run import StageEntry


class MinInteger(Limit):
    """The share of convolutions and products of matrices that ONNX Runtime computes on integers."""

    name: ClassVar[str] = "min_integer"
    annotation: ClassVar[Any] = Annotated[
        float | None, Field(ge=0, le=1, description="share of layers that run on integers in ONNX Runtime, 0 to 1")
    ]
    needs_latency: ClassVar[bool] = True

    def value(self, baseline: StageEntry, result: StageEntry, sign: int) -> float:  # noqa: ARG002
        assert result.latency_ms
        return result.latency_ms.integer_convs / max(1, result.latency_ms.convs)

    def is_met(self, limit: float, value: float) -> bool:
        return value >= limit
