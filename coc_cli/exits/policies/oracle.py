"""A bound: at the exit where it begins it knows where the input will leave."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from coc_cli.exits.policies.context import PREDICTED_THRESHOLDS, PolicyContext
from coc_cli.exits.policies.policy import Decision, Family, Inputs, Policy, PredictingPolicy, ThresholdedPolicy
from coc_cli.exits.traces import Trace, first_confident

if TYPE_CHECKING:
    from coc_cli.dvfs.energy import EnergyModel


@dataclass(frozen=True)
class Oracle(PredictingPolicy):
    """Goes from `start` at once to the exit where the input will leave."""

    name: ClassVar[str] = "oracle"
    family: ClassVar[Family] = "bound"

    @classmethod
    def candidates(cls, context: PolicyContext) -> Iterator[Policy]:
        for threshold in context.thresholds(PREDICTED_THRESHOLDS, context.measure):
            yield from (cls(context.measure, threshold, start) for start in context.starts())

    def step(self, trace: Trace, at: int, inputs: Inputs) -> Decision:
        leave = self.is_confident(trace, at, inputs.rows)
        goes = first_confident(trace, self.measure, self.threshold, after=at)[inputs.rows]
        return Decision(leave, goes, np.zeros(len(goes)), goes)

    def variants(self, context: PolicyContext, model: EnergyModel) -> Sequence[ThresholdedPolicy]:  # noqa: ARG002
        return [replace(self, start=start) for start in context.starts()]
