"""Exits in turn; an input leaves at the first that is confident enough (BranchyNet, Teerapittayanon et al. 2016)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from coc_cli.dvfs.energy import Array
from coc_cli.exits.policies.context import THRESHOLDS, PolicyContext
from coc_cli.exits.policies.policy import Decision, Family, Inputs, Policy, ThresholdedPolicy
from coc_cli.exits.traces import Trace


@dataclass(frozen=True)
class Threshold(ThresholdedPolicy):
    """All exits in turn, or some of them."""

    exits: tuple[int, ...]  # those that are run
    name: ClassVar[str] = "threshold"
    family: ClassVar[Family] = "passive"

    @classmethod
    def shapes(cls, context: PolicyContext) -> Iterator[Policy]:
        for measure in context.measures:
            sets = {cls.chosen_exits(context, measure, one) for one in context.thresholds(THRESHOLDS, measure)}
            yield from (cls(measure, np.inf, exits) for exits in sorted(sets))

    @classmethod
    def chosen_exits(cls, context: PolicyContext, measure: str, threshold: float) -> tuple[int, ...]:  # noqa: ARG003
        """Return the exits that are run, as a threshold has it."""
        return tuple(range(context.trace.exits))

    def first(self, trace: Trace) -> Array:
        return np.full(len(trace), self.exits[0] if self.exits else trace.exits)

    def decide(self, trace: Trace, at: int, inputs: Inputs) -> Decision:
        following = next((index for index in self.exits if index > at), trace.exits)
        confident = self.is_confident(trace, at, inputs.rows)
        return Decision(confident, np.full(len(confident), following))

    def may_visit(self, exits: int) -> tuple[int, ...]:
        return (*self.exits, exits)
