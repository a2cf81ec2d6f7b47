"""A bound: it knows where the input will leave before anything has run."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

from coc_cli.dvfs.energy import Array
from coc_cli.exits.policies.context import THRESHOLDS, PolicyContext
from coc_cli.exits.policies.policy import Decision, Family, Inputs, Policy, ThresholdedPolicy
from coc_cli.exits.traces import Trace, first_confident


@dataclass(frozen=True)
class OracleFromStart(ThresholdedPolicy):
    """Runs straight to the exit where the input will leave."""

    name: ClassVar[str] = "oracle-0"
    family: ClassVar[Family] = "bound"
    predicts: ClassVar[bool] = True
    answers_at_first: ClassVar[bool] = True

    @classmethod
    def candidates(cls, context: PolicyContext) -> Iterator[Policy]:
        for threshold in context.thresholds(THRESHOLDS, context.measure):
            yield cls(context.measure, threshold)

    def first(self, trace: Trace) -> Array:
        return first_confident(trace, self.measure, self.threshold)

    def step(self, trace: Trace, at: int, inputs: Inputs) -> Decision:  # noqa: ARG002
        raise AssertionError("oracle-0 answers at the first exit that it visits")

    def may_visit(self, exits: int) -> tuple[int, ...]:
        return (exits,)
