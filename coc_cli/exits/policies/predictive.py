"""Ours: predict where an input will leave, and visit the exits that cost least on average."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np

from coc_cli.dvfs.energy import Array
from coc_cli.exits.policies.context import PolicyContext
from coc_cli.exits.policies.policy import Decision, Family, Inputs, LearnedPolicy, Policy
from coc_cli.exits.traces import Trace

VISITS = (None, 2, 1)  # of inner exits behind the first, at most
CAPS = (1.0, 0.95)  # the probability to have left by the exit where it answers in any case


@dataclass(frozen=True)
class Predictive(LearnedPolicy):
    """Predicts at `start`, visits the exits that cost least on average, predicts again where it must go on.

    It leaves where the exit is confident enough, as `threshold` does, so that only the exits in between are saved. Two
    commitments make the longest path shorter than that of any passive policy: after `visits` exits it goes to the
    latest one at once, and the latest is the exit by which it would have left with the probability `cap`, where it
    answers in any case.
    """

    cost: Array  # of each stretch [from + 1, to]: MACs, or what a device needs
    prediction_cost: float
    visits: int | None = None  # between the first exit and the latest, at most; None: as many as there are
    cap: float = 1.0
    name: ClassVar[str] = "predictive"
    family: ClassVar[Family] = "ours"

    @classmethod
    def shapes(cls, context: PolicyContext) -> Iterator[Policy]:
        for measure, fitted in context.fitted.items():
            cost = context.workload.stretch_macs, fitted.predictor.macs
            yield from (cls(measure, np.inf, start, fitted.predictor, *cost) for start in context.starts(measure))

    def decide(self, trace: Trace, at: int, inputs: Inputs) -> Decision:
        leave = self.is_confident(trace, at, inputs.rows)
        goes, latest, going_on = inputs.latest_exit.copy(), inputs.latest_exit.copy(), np.zeros(len(leave))
        visits_left = self.max_visits(trace.exits) - inputs.visits
        on = np.flatnonzero(~leave & (visits_left > 0))
        probabilities = self.predictor.probabilities(trace, at, inputs.rows[on], inputs.before[on], self.threshold)
        latest[on] = np.minimum(latest[on], quantile(probabilities, self.cap))
        probabilities = truncated(probabilities, latest[on])
        goes[on] = np.minimum(cheapest_next(probabilities, self.cost, at, self.prediction_cost), latest[on])
        going_on[on] = np.maximum(0.0, 1 - np.cumsum(probabilities, 1)[np.arange(len(on)), goes[on]])
        return Decision(leave, goes, going_on, latest, np.maximum(0, visits_left - 1))

    def max_visits(self, exits: int) -> int:
        every = max(0, len(self.may_visit(exits)) - 2)
        return every if self.visits is None else min(self.visits, every)

    def variants(self, context: PolicyContext) -> Sequence[Policy]:
        """Return those that choose exits by energy, commit to more, or begin elsewhere."""
        model = context.model(self.prediction_macs)
        by_energy = replace(self, cost=model.energy_mj[..., -1], prediction_cost=float(model.predictor_mj[-1]))
        committed = [replace(by_energy, visits=visits, cap=cap) for visits in VISITS for cap in CAPS]
        others = [start for start in context.starts(self.measure) if start != self.start]
        return committed + [replace(by_energy, start=start) for start in others]


def truncated(probabilities: Array, latest_exit: Array) -> Array:
    """Return the probabilities [n, E + 1] of inputs that leave by `latest_exit` [n]; who would later, leaves there."""
    exit_ = np.arange(probabilities.shape[1])[None]
    beyond = (probabilities * (exit_ > latest_exit[:, None])).sum(1, keepdims=True)
    at_latest = probabilities + beyond * (exit_ == latest_exit[:, None])
    result: Array = np.where(exit_ > latest_exit[:, None], 0.0, at_latest)
    return result


def cheapest_next(probabilities: Array, cost: Array, at: int, prediction_cost: float) -> Array:
    """Return the exit to visit next at the least expected cost, [n].

    `probabilities` [n, E + 1] say at which exit an input would leave if all were visited, 0 up to `at`; `cost`
    [from + 1, to] is that of each stretch. Visited late it leaves late; visited too early it goes on. Solved backwards:
    going on from exit j, not having left by j, costs the least over k > j of the way to k and, with the probability
    that it has not left by k either, what follows from there.

    Three exits and the final one, each stretch a unit longer, heads of a unit: an input that leaves at exit 2 with
    probability 0.9 goes 0 -> 2 for 2 + 1, and with 0.1 on to the end; through exit 1 it would pay that head as well.
    """
    beyond = np.maximum(1.0 - np.cumsum(probabilities.T, 0), 0.0)  # [E + 1, n]: not left by exit j
    exits = len(beyond) - 1
    follows = np.zeros(beyond.shape)  # behind exit j, times the probability to go on there
    spent = follows[exits:]
    for here in range(exits - 1, at - 1, -1):
        price = cost[here + 1, here + 1 :] + prediction_cost * (here + 1 < exits)
        spent = price[:, None] * beyond[here] + follows[here + 1 :]
        follows[here] = spent.min(0)
    choice: Array = at + 1 + spent.argmin(0)
    return choice


def quantile(probabilities: Array, probability: float) -> Array:
    """Return the first exit by which an input has left with that probability, [n]; `probabilities` [n, E + 1]."""
    reached = np.cumsum(probabilities, 1) >= probability - 1e-12
    reached[:, -1] = True
    first: Array = reached.argmax(1)
    return first
