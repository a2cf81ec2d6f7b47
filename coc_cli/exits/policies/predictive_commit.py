"""Ours, without a second test: predict once, and answer there."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from coc_cli.exits.policies.context import PolicyContext
from coc_cli.exits.policies.policy import Decision, Family, Inputs, LearnedPolicy, Policy
from coc_cli.exits.policies.predictive import quantile
from coc_cli.exits.traces import Trace

PROBABILITIES = (0.5, 0.65, 0.8, 0.9, 0.95)


@dataclass(frozen=True)
class PredictiveCommit(LearnedPolicy):
    """Leaves at the exit by which it would have left with that probability."""

    probability: float
    name: ClassVar[str] = "predictive-commit"
    family: ClassVar[Family] = "ours"

    @classmethod
    def shapes(cls, context: PolicyContext) -> Iterator[Policy]:
        for measure, fitted in context.fitted.items():
            for start in context.starts(measure):
                yield from (cls(measure, np.inf, start, fitted.predictor, one) for one in PROBABILITIES)

    def decide(self, trace: Trace, at: int, inputs: Inputs) -> Decision:
        goes = np.full(len(inputs.rows), trace.exits)
        leave = self.is_confident(trace, at, inputs.rows)
        on = inputs.rows[~leave], inputs.before[~leave]
        probabilities = self.predictor.probabilities(trace, at, *on, self.threshold)
        goes[~leave] = quantile(probabilities, self.probability)
        return Decision(leave, goes, np.zeros(len(goes)), goes)
