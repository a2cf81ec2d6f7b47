"""The base of every limit: one figure of the result, compared with the recipe's."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

if TYPE_CHECKING:
    from coc_cli.report.schema.run import StageEntry


@dataclass(frozen=True)
class Outlook:
    """The plan's prediction of the result."""

    bitops_ratio: float  # strict, with every image leaving at the first exit: the best that can be
    checkpoint_bytes: int
    slack: float  # by how much widths that depend on weights may better both; 1 where they do not


class Limit(ABC):
    """A key under `limits`."""

    name: ClassVar[str]
    annotation: ClassVar[Any]  # of the recipe's key, None included, with its bounds and its description
    needs_latency: ClassVar[bool] = False  # a recipe that sets it has the latency measured
    is_timed: ClassVar[bool] = False  # not to be judged on a busy machine

    @abstractmethod
    def value(self, baseline: StageEntry, result: StageEntry, sign: int) -> float:
        """Return the limited figure, from two entries of report.json's stages.

        `sign` is 1 if a larger metric is better, else -1.
        """

    @abstractmethod
    def is_met(self, limit: float, value: float) -> bool:
        """Return whether the figure keeps the limit."""

    def plan_fault(self, limit: Any, outlook: Outlook) -> str | None:  # noqa: ARG002
        """Return why the limit cannot be met, where the plan already knows that."""
        return None
