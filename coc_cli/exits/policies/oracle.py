"""A bound: at the exit where it begins it knows where the input will leave."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from coc_cli.exits.policies.context import PolicyContext
from coc_cli.exits.policies.policy import Decision, Family, Inputs, Policy, PredictingPolicy
from coc_cli.exits.traces import Trace, first_confident


@dataclass(frozen=True)
class Oracle(PredictingPolicy):
    """Goes from `start` at once to the exit where the input will leave."""

    name: ClassVar[str] = "oracle"
    family: ClassVar[Family] = "bound"
    knows_all_of: ClassVar[tuple[str, ...]] = ("predictive",)

    @classmethod
    def shapes(cls, context: PolicyContext) -> Iterator[Policy]:
        for measure in context.predicted:
            yield from (cls(measure, np.inf, start) for start in context.starts(measure))

    def decide(self, trace: Trace, at: int, inputs: Inputs) -> Decision:
        leave = self.is_confident(trace, at, inputs.rows)
        goes = first_confident(trace, self.measure, self.threshold, after=at)[inputs.rows]
        return Decision(leave, goes, np.zeros(len(goes)), goes)
