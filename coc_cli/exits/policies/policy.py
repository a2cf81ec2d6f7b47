"""What every policy is, and the walk of inputs along their exits under one. numpy only, no torch.

Exits are counted from 0; the final output is number E. A policy sees one exit at a time, so it cannot know more than a
device would; only the bounds look at what is to come.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, ClassVar, Literal, NamedTuple, TypeAlias

import numpy as np

from coc_cli.dvfs.energy import Array
from coc_cli.exits.policies.context import GRID
from coc_cli.exits.traces import Measure, Shifted, Trace

if TYPE_CHECKING:
    from coc_cli.exits.policies.context import PolicyContext
    from coc_cli.exits.predictor import Predictor

# What a policy is compared as: no exits at all, without prediction, the paper's own engine, ours, or a bound that no
# device reaches.
Family: TypeAlias = Literal["none", "passive", "paper", "ours", "bound"]


@dataclass(frozen=True)
class Paths:
    """Where each input went."""

    visited: Array  # bool [N, E + 1]: the exits whose heads it ran, the last of which it left at
    exit: Array  # [N]
    predicted: Array  # [N, E + 1]: the exit predicted at each exit from which it went on; -1 where none was
    continue_probability: Array  # [N, E + 1]: to go on from an exit, predicted before it was visited; NaN where not
    latest_exit: Array  # [N, E + 1]: the exit by which an input was bound to answer, before it visited an exit
    max_visits: Array  # [N, E + 1]: and how many it would visit at most behind that exit and before the latest

    def macs(self, stretch_macs: Array, prediction_macs: float = 0.0) -> Array:
        """Return what each input cost, [N]; `stretch_macs` [from + 1, to] holds backbone and head."""
        n, exits = self.visited.shape
        before, spent = np.zeros(n, dtype=int), np.zeros(n)
        for index in range(exits):
            rows = np.flatnonzero(self.visited[:, index])
            spent[rows] += stretch_macs[before[rows], index]
            before[rows] = index + 1
        predictions = self.predicted[:, : exits - 2] >= 0  # behind the last inner exit there is nothing to predict
        total: Array = spent + prediction_macs * predictions.sum(1)
        return total


def joined(parts: Sequence[Paths]) -> Paths:
    """Return the paths of several sets of inputs, one after the other."""
    return Paths(*(np.concatenate([getattr(part, name) for part in parts]) for name in Paths.__annotations__))


class Inputs(NamedTuple):
    """The n inputs that visit an exit."""

    rows: Array  # [n], of the trace
    before: Array  # [n]: the exit that each came from; -1: the input
    visits: Array  # [n]: how many exits it visited before
    latest_exit: Array  # [n]: the exit by which it is bound to answer


class Decision(NamedTuple):
    """What n inputs do at an exit."""

    leave: Array  # bool [n]
    next_exit: Array  # [n]: the exit that each of the others visits next
    continue_probability: Array | None = None  # [n]: predicted, to go on from there too
    latest_exit: Array | None = None  # [n]: by which each will have answered; the final output where nothing binds it
    max_visits: Array | None = None  # [n]: how many exits each visits at most behind `next_exit`, before `latest_exit`


class Policy(ABC):
    """A rule with its parameters fixed; the class says what it is compared as and which parameters are tried."""

    name: ClassVar[str]
    family: ClassVar[Family]
    needs_classes: ClassVar[bool] = False  # it reads logits of classes
    predicts: ClassVar[bool] = False  # `decide` says where an input will leave
    answers_at_first: ClassVar[bool] = False  # every input leaves at the first exit that it visits
    is_tuned: ClassVar[bool] = False  # `at_step` gives others
    knows_all_of: ClassVar[tuple[str, ...]] = ()  # policies as which a bound may act too, as it knows more than they

    def step(self, context: PolicyContext) -> int:  # noqa: ARG002
        """Return the step of `GRID` at which the policy is as sure as it is; 0 where nothing can be tuned."""
        return 0

    @classmethod
    @abstractmethod
    def shapes(cls, context: PolicyContext) -> Iterator[Policy]:
        """Yield the policy in every form that is tried on validation; how sure it has to be is tuned for each."""

    def at_step(self, step: int, context: PolicyContext) -> Policy:  # noqa: ARG002
        """Return the policy as sure as a step of `GRID` says, 0 the least sure; itself where nothing can be tuned."""
        return self

    @abstractmethod
    def first(self, trace: Trace) -> Array:
        """Return the first exit that each input visits, [N]."""

    @abstractmethod
    def decide(self, trace: Trace, at: int, inputs: Inputs) -> Decision:
        """Decide for the inputs that visit exit `at`."""

    @abstractmethod
    def may_visit(self, exits: int) -> tuple[int, ...]:
        """Return the exits that an input may visit, of a network with so many inner ones; it visits the first."""

    def max_visits(self, exits: int) -> int:
        """Return how many exits an input visits at most behind the first and before the final output."""
        return max(0, len(self.may_visit(exits)) - 2)

    def last_exit(self, exits: int) -> int:
        """Return the exit at which every input that comes so far leaves."""
        return exits

    def variants(self, context: PolicyContext) -> Sequence[Policy]:  # noqa: ARG002
        """Return policies like this one that may need less energy on the device."""
        return []

    @property
    def prediction_macs(self) -> float:
        """What one prediction costs."""
        return 0.0

    def with_predictor(self, predictor: Predictor) -> Policy:  # noqa: ARG002
        """Return the policy with another predictor; itself where it has none."""
        return self


@dataclass(frozen=True)
class ThresholdedPolicy(Policy):
    """A policy that leaves by the confidence of exits, whose threshold can be tuned."""

    measure: Measure
    threshold: float  # of confidence, larger is more confident
    is_tuned: ClassVar[bool] = True

    def at_step(self, step: int, context: PolicyContext) -> Policy:
        values = context.thresholds(GRID, self.measure)
        return replace(self, threshold=values[min(step, len(values) - 1)])

    def last_exit(self, exits: int) -> int:
        return self.measure.last if isinstance(self.measure, Shifted) else exits

    def step(self, context: PolicyContext) -> int:
        return int(np.searchsorted(context.thresholds(GRID, self.measure), self.threshold))

    def is_confident(self, trace: Trace, at: int, rows: Array) -> Array:
        """Return whether the exit is confident enough of each of the inputs `rows` [n]; bool [n]."""
        confident: Array = trace.confidence(self.measure)[at, rows] >= self.threshold
        return confident


@dataclass(frozen=True)
class PredictingPolicy(ThresholdedPolicy):
    """What policies share that begin at an exit and predict from where it is not confident enough."""

    start: int
    predicts: ClassVar[bool] = True

    def first(self, trace: Trace) -> Array:
        return np.full(len(trace), self.start)

    def may_visit(self, exits: int) -> tuple[int, ...]:
        every = self.measure.kept if isinstance(self.measure, Shifted) else range(exits)
        return (min(self.start, exits), *(exit_ for exit_ in every if exit_ > self.start), exits)

    def max_visits(self, exits: int) -> int:
        return min(1, max(0, exits - self.start - 1))


@dataclass(frozen=True)
class LearnedPolicy(PredictingPolicy):
    """A predicting policy that asks a fitted predictor."""

    predictor: Predictor

    @property
    def prediction_macs(self) -> float:
        return self.predictor.macs

    def with_predictor(self, predictor: Predictor) -> Policy:
        return replace(self, predictor=predictor, measure=predictor.measure)


def walk(policy: Policy, trace: Trace) -> Paths:
    """Follow every input along its exits."""
    n, exits = len(trace), trace.exits
    shape = exits + 1, n  # what is read and written exit by exit lies together
    visited = np.zeros(shape, dtype=bool)
    predicted, going_on = np.full(shape, -1), np.full(shape, np.nan)
    latest, visits = np.full(shape, policy.last_exit(exits)), np.full(shape, policy.max_visits(exits))
    following, before, left, visits_so_far = policy.first(trace), np.full(n, -1), np.full(n, -1), np.zeros(n, dtype=int)
    if policy.answers_at_first:
        latest[following, np.arange(n)] = following
    for at in range(exits + 1):
        rows = np.flatnonzero((following == at) & (left < 0))
        visited[at, rows] = True
        bound = latest[at, rows]
        left[rows[bound == at]] = at
        goes_on = bound > at
        rows, bound = rows[goes_on], bound[goes_on]
        if not len(rows):
            continue
        decided = policy.decide(trace, at, Inputs(rows, before[rows], visits_so_far[rows], bound))
        left[rows[decided.leave]] = at
        stays = ~decided.leave
        on, goes = rows[stays], decided.next_exit[stays]
        assert (goes > at).all(), f"{policy.name} must go forward"
        following[on], before[on] = goes, at
        visits_so_far[on] += 1
        if policy.predicts:
            predicted[at, on] = goes
        predicted_values = (decided.continue_probability, decided.latest_exit, decided.max_visits)
        for table, values in zip((going_on, latest, visits), predicted_values, strict=True):
            if values is not None:
                table[goes, on] = values[stays]
    return Paths(visited.T, left, predicted.T, going_on.T, latest.T, visits.T)
