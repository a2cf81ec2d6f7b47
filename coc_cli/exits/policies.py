"""Policies: from what the exits visited so far say, leave here, or go on to which exit. numpy only, no torch.

Exits are counted from 0; the final output is number E. A policy is told of one exit at a time, so it cannot know more
than a device would; only the oracles look at what is to come.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, NamedTuple

import numpy as np

from coc_cli.exits.traces import Array, Trace

if TYPE_CHECKING:
    from coc_cli.exits.predictor import Predictor

PLACEMENT_SHARE = 0.5  # TH in the placement rule of Predictive Exit


@dataclass(frozen=True)
class Paths:
    """Where each input went."""

    visited: Array  # bool [N, E + 1]: the exits whose heads it ran, the last of which it left at
    exit: Array  # [N]
    predicted: Array  # [N, E + 1]: the exit foretold at each exit from which it went on; -1 where nothing was
    stays: Array  # [N, E + 1]: the chance, foretold before it was visited, to go on from an exit; NaN where none was
    last: Array  # [N, E + 1]: the exit by which an input had promised to answer, before it visited an exit
    most: Array  # [N, E + 1]: and how many it would visit at most behind that exit and before the last

    def macs(self, stretch_macs: Array, predictor_macs: float = 0.0) -> Array:
        """Give what each input cost, [N]; `stretch_macs` [from + 1, to] holds backbone and head."""
        n, exits = self.visited.shape
        before, spent = np.zeros(n, dtype=int), np.zeros(n)
        for index in range(exits):
            rows = np.flatnonzero(self.visited[:, index])
            spent[rows] += stretch_macs[before[rows], index]
            before[rows] = index + 1
        asked = self.predicted[:, : exits - 2] >= 0  # behind the last inner exit there is nothing to foretell
        total: Array = spent + predictor_macs * asked.sum(1)
        return total


def joined(parts: list[Paths]) -> Paths:
    """Give the paths of several sets of inputs, one after the other."""
    return Paths(*(np.concatenate([getattr(part, name) for part in parts]) for name in Paths.__annotations__))


class Inputs(NamedTuple):
    """The n inputs that visit an exit."""

    rows: Array  # [n], of the trace
    before: Array  # [n]: the exit that each came from; -1: the input
    visits: Array  # [n]: how many exits it visited before
    last: Array  # [n]: the exit by which it has promised to answer


class Decision(NamedTuple):
    """What n inputs do at an exit."""

    leave: Array  # bool [n]
    goes: Array  # [n]: the exit that each of the others visits next
    stays: Array | None = None  # [n]: the chance foretold to go on from there too
    last: Array | None = None  # [n]: the exit by which each will have answered; the final output where none is promised
    most: Array | None = None  # [n]: how many exits each visits at most behind `goes` and before `last`


class Policy(ABC):
    """A rule with its parameters fixed."""

    name: ClassVar[str]

    @abstractmethod
    def first(self, trace: Trace) -> Array:
        """Give the first exit that each input visits, [N]."""

    @abstractmethod
    def step(self, trace: Trace, at: int, inputs: Inputs) -> Decision:
        """Decide for the inputs that visit exit `at`."""

    predicts: ClassVar[bool] = False  # whether `step` says where an input will leave
    answers_at_first: ClassVar[bool] = False  # whether every input leaves at the first exit that it visits

    @abstractmethod
    def may_visit(self, exits: int) -> tuple[int, ...]:
        """Give the exits that an input may visit, of a network with so many inner ones; the first it visits anyway."""

    def most_visits(self, exits: int) -> int:
        """Give how many exits an input visits at most behind the first and before the final output."""
        return max(0, len(self.may_visit(exits)) - 2)


def walk(policy: Policy, trace: Trace) -> Paths:
    """Follow every input along its exits."""
    n, exits = len(trace), trace.exits
    visited = np.zeros((n, exits + 1), dtype=bool)
    predicted, stays = np.full((n, exits + 1), -1), np.full((n, exits + 1), np.nan)
    last, most = np.full((n, exits + 1), exits), np.full((n, exits + 1), policy.most_visits(exits))
    following, before, left = policy.first(trace), np.full(n, -1), np.full(n, -1)
    if policy.answers_at_first:
        last[np.arange(n), following] = following
    for at in range(exits + 1):
        rows = np.flatnonzero((following == at) & (left < 0))
        visited[rows, at] = True
        left[rows[last[rows, at] == at]] = at
        rows = rows[last[rows, at] > at]
        if not len(rows):
            continue
        decided = policy.step(trace, at, Inputs(rows, before[rows], visited[rows, :at].sum(1), last[rows, at]))
        goes_on = ~decided.leave
        left[rows[decided.leave]] = at
        on, goes = rows[goes_on], decided.goes[goes_on]
        assert (goes > at).all(), f"{policy.name} must go forward"
        following[on], before[on] = goes, at
        if policy.predicts:
            predicted[on, at] = goes
        for kept, said in ((stays, decided.stays), (last, decided.last), (most, decided.most)):
            if said is not None:
                kept[on, goes] = said[goes_on]
    return Paths(visited, left, predicted, stays, last, most)


@dataclass(frozen=True)
class Classic(Policy):
    """No exit at all."""

    name: ClassVar[str] = "classic"

    def first(self, trace: Trace) -> Array:
        return np.full(len(trace), trace.exits)

    def step(self, trace: Trace, at: int, inputs: Inputs) -> Decision:  # noqa: ARG002
        raise AssertionError("classic visits no inner exit")

    def may_visit(self, exits: int) -> tuple[int, ...]:
        return (exits,)


@dataclass(frozen=True)
class Threshold(Policy):
    """Some exits in turn; an input leaves at the first that is sure enough (BranchyNet, Teerapittayanon 2016)."""

    measure: str
    least: float  # sureness, larger is surer
    exits: tuple[int, ...]  # those that are run
    name: ClassVar[str] = "threshold"

    def first(self, trace: Trace) -> Array:
        return np.full(len(trace), self.exits[0] if self.exits else trace.exits)

    def step(self, trace: Trace, at: int, inputs: Inputs) -> Decision:
        following = next((index for index in self.exits if index > at), trace.exits)
        sure = trace.sureness(self.measure)[at, inputs.rows] >= self.least
        return Decision(sure, np.full(len(sure), following))

    def may_visit(self, exits: int) -> tuple[int, ...]:
        return (*self.exits, exits)


@dataclass(frozen=True)
class Hierarchical(Threshold):
    """The same with three exits, nearest to 1/4, 1/2 and 3/4 of the MACs."""

    name: ClassVar[str] = "hierarchical"


@dataclass(frozen=True)
class Placement(Threshold):
    """The same with the exits that pay by the placement rule (Li et al. 2023)."""

    name: ClassVar[str] = "placement"


def quarters(segment_macs: Array) -> tuple[int, ...]:
    """Give the exits nearest to 1/4, 1/2 and 3/4 of the backbone's MACs; `segment_macs` [E + 1]."""
    share = np.cumsum(segment_macs)[:-1] / segment_macs.sum()
    return tuple(sorted({int(np.abs(share - part).argmin()) for part in (0.25, 0.5, 0.75)}))


def placed(segment_macs: Array, head_macs: Array, stays: Array) -> tuple[int, ...]:
    """Give the exits m that pay: (TH - C) y[m + 1] - (1 - C) y_exit[m] - (1 - TH) y[m] >= 0 with TH = 1/2.

    `stays` [E] is C, the share of inputs that do not leave when only exit m is active; y are layer costs, those of the
    segments before and behind the exit (Li et al. 2023, as in their code). The weights are theirs.
    """
    gain = (PLACEMENT_SHARE - stays) * segment_macs[1:]
    loss = (1 - stays) * head_macs + (1 - PLACEMENT_SHARE) * segment_macs[:-1]
    return tuple(np.flatnonzero(gain - loss >= 0).tolist())


@dataclass(frozen=True)
class Patience(Policy):
    """Every exit in turn; an input leaves when so many in a row gave the same class (PABEE, Zhou et al. 2020)."""

    agreeing: int
    name: ClassVar[str] = "patience"

    def first(self, trace: Trace) -> Array:
        return np.zeros(len(trace), dtype=int)

    def step(self, trace: Trace, at: int, inputs: Inputs) -> Decision:
        labels = trace.answer[: at + 1, inputs.rows]
        same = (labels[::-1] == labels[-1]).cumprod(0).sum(0)  # how many in a row, this one included
        return Decision(same > self.agreeing, np.full(len(same), at + 1))

    def may_visit(self, exits: int) -> tuple[int, ...]:
        return tuple(range(exits + 1))


def convolved(logits: Array, scales: Array, beta: float, at: int, reach: int) -> Array:
    """Give the jump of the parameter-free engine of Predictive Exit (Li et al. 2023, as in their code), [N].

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


@dataclass(frozen=True)
class PredictiveConv(Policy):
    """The engine above, again at each exit that it foretold and where max |logit| < beta x scale."""

    beta: float
    start: int
    reach: int
    scales: tuple[float, ...]  # |mean logit| of each exit, E + 1
    name: ClassVar[str] = "predictive-conv"
    predicts: ClassVar[bool] = True

    def first(self, trace: Trace) -> Array:
        return np.full(len(trace), min(self.start, trace.exits))

    def step(self, trace: Trace, at: int, inputs: Inputs) -> Decision:
        logits, scales = trace.outputs[at][inputs.rows], np.array(self.scales)
        leave = np.abs(logits).max(1) >= self.beta * scales[at]
        return Decision(leave, np.minimum(at + convolved(logits, scales, self.beta, at, self.reach), trace.exits))

    def may_visit(self, exits: int) -> tuple[int, ...]:
        return tuple(range(min(self.start, exits), exits + 1))


def mean_logits(trace: Trace) -> tuple[float, ...]:
    """Give |mean logit| of each exit."""
    return tuple(float(abs(output.mean())) for output in trace.outputs)


@dataclass(frozen=True)
class Foretelling(Policy):
    """What policies share that begin at an exit and foretell from where it is not sure enough."""

    measure: str
    least: float  # sureness, larger is surer
    start: int
    predicts: ClassVar[bool] = True

    def first(self, trace: Trace) -> Array:
        return np.full(len(trace), self.start)

    def is_sure(self, trace: Trace, at: int, rows: Array) -> Array:
        """Tell which of the inputs `rows` [n] the exit is sure enough of; bool [n]."""
        sure: Array = trace.sureness(self.measure)[at, rows] >= self.least
        return sure

    def may_visit(self, exits: int) -> tuple[int, ...]:
        return tuple(range(min(self.start, exits), exits + 1))

    def most_visits(self, exits: int) -> int:
        return min(1, max(0, exits - self.start - 1))


@dataclass(frozen=True)
class Predictive(Foretelling):
    """Ours: foretells at `start`, visits the exits that cost least on average, foretells again where it must go on.

    It leaves where the exit is sure enough, as `threshold` does, so that only the exits in between are saved. Two
    promises make the longest way shorter than that of any passive policy: after `visits` exits it goes to the last one
    at once, and the last is the exit by which it would have left with the chance `cap`, where it answers in any case.
    """

    predictor: Predictor
    cost: Array  # of each stretch [from + 1, to]: MACs, or what a device needs
    asking: float  # the cost of a prediction
    visits: int | None = None  # between the first exit and the last, at most; None: as many as there are
    cap: float = 1.0
    name: ClassVar[str] = "predictive"

    def step(self, trace: Trace, at: int, inputs: Inputs) -> Decision:
        leave = self.is_sure(trace, at, inputs.rows)
        goes, last, stays = inputs.last.copy(), inputs.last.copy(), np.zeros(len(leave))
        more = self.most_visits(trace.exits) - inputs.visits  # how many visits are left
        on = np.flatnonzero(~leave & (more > 0))
        chances = self.predictor.chances(trace, at, inputs.rows[on], inputs.before[on], self.least)
        last[on] = np.minimum(last[on], quantile(chances, self.cap))
        chances = truncated(chances, last[on])
        goes[on] = np.minimum(cheapest_next(chances, self.cost, at, self.asking), last[on])
        stays[on] = np.maximum(0.0, 1 - np.cumsum(chances, 1)[np.arange(len(on)), goes[on]])
        return Decision(leave, goes, stays, last, np.maximum(0, more - 1))

    def most_visits(self, exits: int) -> int:
        every = max(0, exits - self.start - 1)
        return every if self.visits is None else min(self.visits, every)


def truncated(chances: Array, last: Array) -> Array:
    """Give the chances [n, E + 1] of inputs that leave by the exits `last` [n]; who would later, leaves there."""
    exit_ = np.arange(chances.shape[1])[None]
    beyond = (chances * (exit_ > last[:, None])).sum(1, keepdims=True)
    result: Array = np.where(exit_ > last[:, None], 0.0, chances + beyond * (exit_ == last[:, None]))
    return result


def cheapest_next(chances: Array, cost: Array, at: int, asking: float) -> Array:
    """Give the exit to visit next at the least expected cost, [n].

    `chances` [n, E + 1] say at which exit an input would leave if all were visited, 0 up to `at`; `cost` [from + 1, to]
    is that of each stretch, `asking` that of a prediction. Visited late it
    leaves late; visited too early it goes on. Solved backwards: going on from exit j, not having left by j, costs the
    least over k > j of the way to k and, with the chance that it has not left by k either, what follows from there.
    """
    n, exits = len(chances), chances.shape[1] - 1
    beyond = np.maximum(1.0 - np.cumsum(chances, 1), 0.0)  # [n, E + 1]: not left by exit j
    follows = np.zeros((n, exits + 1))
    choice = np.full(n, exits)
    for here in range(exits - 1, at - 1, -1):
        there = np.arange(here + 1, exits + 1)
        going_on = np.where(beyond[:, [here]] > 0, beyond[:, there] / np.maximum(beyond[:, [here]], 1e-12), 0.0)
        going_on[:, -1] = 0.0
        price = cost[here + 1, there] + (asking if len(there) > 1 else 0.0) + going_on * follows[:, there]
        best = price.argmin(1)
        follows[:, here] = price[np.arange(n), best]
        choice = there[best]
    return choice


@dataclass(frozen=True)
class PredictiveCommit(Foretelling):
    """Ours, without a second test: leaves at the exit by which it would have left with that chance."""

    predictor: Predictor
    chance: float
    name: ClassVar[str] = "predictive-commit"

    def step(self, trace: Trace, at: int, inputs: Inputs) -> Decision:
        goes = np.full(len(inputs.rows), trace.exits)
        leave = self.is_sure(trace, at, inputs.rows)
        chances = self.predictor.chances(trace, at, inputs.rows[~leave], inputs.before[~leave], self.least)
        goes[~leave] = quantile(chances, self.chance)
        return Decision(leave, goes, np.zeros(len(goes)), goes)


def quantile(chances: Array, chance: float) -> Array:
    """Give the first exit by which an input has left with that chance, [n]; `chances` [n, E + 1]."""
    reached = np.cumsum(chances, 1) >= chance - 1e-12
    reached[:, -1] = True
    first: Array = reached.argmax(1)
    return first


def first_sure(trace: Trace, measure: str, least: float, after: int = -1) -> Array:
    """Give the first exit behind `after` that is sure enough, E where none is; [N]."""
    fires = trace.sureness(measure) >= least
    fires[: after + 1] = False
    first: Array = np.concatenate([fires, np.ones((1, len(trace)), dtype=bool)]).argmax(0)
    return first


@dataclass(frozen=True)
class Oracle(Foretelling):
    """A bound: at `start` it knows where the input will leave, and goes there at once."""

    name: ClassVar[str] = "oracle"

    def step(self, trace: Trace, at: int, inputs: Inputs) -> Decision:
        leave = self.is_sure(trace, at, inputs.rows)
        goes = first_sure(trace, self.measure, self.least, after=at)[inputs.rows]
        return Decision(leave, goes, np.zeros(len(goes)), goes)


@dataclass(frozen=True)
class OracleFromStart(Policy):
    """A bound: it knows where the input will leave before anything has run."""

    measure: str
    least: float
    name: ClassVar[str] = "oracle-0"
    predicts: ClassVar[bool] = True
    answers_at_first: ClassVar[bool] = True

    def first(self, trace: Trace) -> Array:
        return first_sure(trace, self.measure, self.least)

    def step(self, trace: Trace, at: int, inputs: Inputs) -> Decision:  # noqa: ARG002
        raise AssertionError("oracle-0 answers at the first exit that it visits")

    def may_visit(self, exits: int) -> tuple[int, ...]:
        return (exits,)
