"""The parameter-free engine of Predictive Exit (Li et al. 2023): logits convolved until they stand out."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from coc_cli.dvfs.energy import Array
from coc_cli.exits.policies.context import GRID, mean_logits
from coc_cli.exits.policies.policy import Decision, Family, Inputs, Policy
from coc_cli.exits.traces import Trace

if TYPE_CHECKING:
    from coc_cli.exits.policies.context import PolicyContext

LOW, HIGH = 0.02, 0.999  # quantiles of the greatest logits, over their scale, between which beta lies
REACHES = (3, 5, 8)


@dataclass(frozen=True)
class PredictiveConv(Policy):
    """The engine, again at each exit that it predicted and where max |logit| < beta x scale.

    A prediction is a few additions, which count as nothing.
    """

    beta: float
    start: int
    reach: int
    scales: tuple[float, ...]  # |mean logit| of each exit, E + 1
    name: ClassVar[str] = "predictive-conv"
    family: ClassVar[Family] = "paper"
    needs_classes: ClassVar[bool] = True
    predicts: ClassVar[bool] = True
    is_tuned: ClassVar[bool] = True

    @classmethod
    def shapes(cls, context: PolicyContext) -> Iterator[Policy]:
        scales = mean_logits(context.trace)
        for start in context.starts():
            yield from (cls(np.inf, start, reach, scales) for reach in REACHES)

    def at_step(self, step: int, context: PolicyContext) -> Policy:
        return replace(self, beta=float(np.quantile(context.peaks, LOW + (HIGH - LOW) * step / (GRID - 1))))

    def step(self, context: PolicyContext) -> int:
        place = np.searchsorted(context.peaks, self.beta) / len(context.peaks)
        return int(np.clip((place - LOW) / (HIGH - LOW) * (GRID - 1), 0, GRID - 1))

    def first(self, trace: Trace) -> Array:
        return np.full(len(trace), min(self.start, trace.exits))

    def decide(self, trace: Trace, at: int, inputs: Inputs) -> Decision:
        logits, scales = trace.outputs[at][inputs.rows], np.array(self.scales)
        leave = np.abs(logits).max(1) >= self.beta * scales[at]
        jump = convolved(logits, scales, self.beta, at, self.reach)
        return Decision(leave, np.minimum(at + jump, trace.exits))

    def may_visit(self, exits: int) -> tuple[int, ...]:
        return tuple(range(min(self.start, exits), exits + 1))


def convolved(logits: Array, scales: Array, beta: float, at: int, reach: int) -> Array:
    """Return the jump of the engine, [N] (Li et al. 2023, as in their code).

    u^0 are the logits [N, C] of exit `at`, u^k[c] = u^(k-1)[c-1] + u^(k-1)[c] + u^(k-1)[c+1]; the jump is the first k
    of 1..`reach` with max |u^k| > beta x scales[at + k], `reach` if there is none. `scales` [E + 1] are |mean logit|.
    """
    u = logits.astype(np.float64)
    jump = np.full(len(u), reach)
    for k in range(1, reach + 1):
        padded = np.pad(u, ((0, 0), (1, 1)))
        u = padded[:, :-2] + padded[:, 1:-1] + padded[:, 2:]
        fires = np.abs(u).max(1) > beta * scales[min(at + k, len(scales) - 1)]
        jump = np.where(fires & (jump == reach) & (k < reach), k, jump)
    return jump
