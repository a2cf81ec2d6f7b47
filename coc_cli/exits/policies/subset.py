"""Some of the exits in turn, each with a threshold of its own, both chosen for the device and the deadline."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from coc_cli.exits.policies.policy import Policy
from coc_cli.exits.policies.threshold import Threshold
from coc_cli.exits.traces import Shifted

if TYPE_CHECKING:
    from coc_cli.exits.policies.context import PolicyContext


@dataclass(frozen=True)
class Subset(Threshold):
    """`threshold` with the exits that are worth their heads, found by search on validation."""

    name: ClassVar[str] = "subset"

    @classmethod
    def shapes(cls, context: PolicyContext) -> Iterator[Policy]:
        yield from map(cls.of, context.by_macs)

    @classmethod
    def of(cls, measure: Shifted) -> Subset:
        """Return the policy that leaves where each exit's own threshold is reached."""
        return cls(measure, 0.0, measure.kept)

    def variants(self, context: PolicyContext) -> Sequence[Policy]:
        return [self.of(measure) for measure in context.by_energy]
