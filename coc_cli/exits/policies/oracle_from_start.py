"""A bound: it knows where the input will leave before anything has run."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from coc_cli.dvfs.energy import Array
from coc_cli.exits.policies.context import PolicyContext
from coc_cli.exits.policies.policy import Decision, Family, Inputs, Policy, ThresholdedPolicy
from coc_cli.exits.traces import Trace, first_confident


@dataclass(frozen=True)
class OracleFromStart(ThresholdedPolicy):
    """Runs straight to the exit where the input will leave: the first behind `start`, or there, that is sure."""

    start: int
    name: ClassVar[str] = "oracle-0"
    family: ClassVar[Family] = "bound"
    knows_all_of: ClassVar[tuple[str, ...]] = ("predictive", "oracle")
    predicts: ClassVar[bool] = True
    answers_at_first: ClassVar[bool] = True

    @classmethod
    def shapes(cls, context: PolicyContext) -> Iterator[Policy]:
        for measure in context.predicted:
            yield from (cls(measure, np.inf, start) for start in context.starts(measure))

    def first(self, trace: Trace) -> Array:
        return first_confident(trace, self.measure, self.threshold, after=self.start - 1)

    def decide(self, trace: Trace, at: int, inputs: Inputs) -> Decision:  # noqa: ARG002
        raise AssertionError("oracle-0 answers at the first exit that it visits")

    def may_visit(self, exits: int) -> tuple[int, ...]:
        return tuple(range(self.start, self.last_exit(exits) + 1))
