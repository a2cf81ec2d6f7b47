"""Governors: at which level each stretch of a path runs. numpy only."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import ClassVar, TypeAlias

import numpy as np

from coc_cli.dvfs.energy import Array, EnergyModel, totals
from coc_cli.dvfs.pace import Plan, answered_mj, plan, with_rest

LATE_MS = 1e-9


@dataclass(frozen=True)
class Levels:
    """What a governor chose: a level for the stretch that ends at each exit, [N, E + 1], and one for resting."""

    level: Array
    rest: int

    @property
    def are_one(self) -> bool:
        """Whether all runs at one level."""
        return bool((self.level == self.rest).all())


@dataclass(frozen=True)
class Load:
    """The paths that a governor chooses levels for, and what was known of each input on its way.

    Promises (`last`, `most`) only ever become tighter; deadlines rest on them.
    """

    visited: Array  # bool [N, E + 1]
    stays: Array  # [N, E + 1]: the chance to go on from an exit, foretold before it was visited; NaN where none was
    last: Array  # [N, E + 1]: the exit by which an input had promised to answer, before it visited an exit
    most: Array  # [N, E + 1]: how many exits it would visit at most between that exit and the answer

    def __len__(self) -> int:
        return len(self.visited)


@dataclass(frozen=True)
class Way:
    """The exits that inputs visit one after the other, the answer's last, and the share that leaves at each.

    Shares are of those that come so far, [visits]; the last is 1.
    """

    visits: tuple[int, ...]
    leaves: Array


@dataclass(frozen=True)
class Usual:
    """What is known of a policy beforehand, from validation."""

    may: tuple[int, ...]  # the exits that an input may visit; the first of them it visits anyway
    most: int  # how many of them at most between the first and the answer
    way: Way  # of all inputs
    ways: Mapping[int, Way]  # of those that promised to answer by an exit before the final output
    load: Load  # validation's own paths, on which plans are tried

    def worst_ms(self, model: EnergyModel) -> Array:
        """Give the time of the longest path at each level throughout, [levels]."""
        first = self.may[0]
        result: Array = model.time_ms[0, first] + model.ahead_ms(self.may, first, model.workload.exits, self.most)
        return result


Rule: TypeAlias = Callable[[Load], Levels]


class Governor(ABC):
    """A way to choose levels."""

    name: ClassVar[str]
    needs_prediction: ClassVar[bool] = False  # it sets levels by the exit foretold

    @abstractmethod
    def rule(self, model: EnergyModel, usual: Usual, deadline_ms: float) -> Rule:
        """Plan by what is known beforehand; the rule chooses a level for every stretch of a load.

        It knows at each exit no more than had been foretold by then.
        """


class Race(Governor):
    """The highest level, then idle."""

    name: ClassVar[str] = "race"

    def rule(self, model: EnergyModel, usual: Usual, deadline_ms: float) -> Rule:  # noqa: ARG002
        return partial(held, level=model.fastest)


class Constant(Governor):
    """The lowest level at which the longest path keeps the deadline, for all inputs; the device rests there too."""

    name: ClassVar[str] = "constant"

    def rule(self, model: EnergyModel, usual: Usual, deadline_ms: float) -> Rule:
        return partial(held, level=keeping(model, usual, deadline_ms)[0])


def held(load: Load, level: int) -> Levels:
    """Give one level for all."""
    return Levels(np.full(load.visited.shape, level), level)


def keeping(model: EnergyModel, usual: Usual, deadline_ms: float) -> list[int]:
    """Give the levels that keep the deadline when held throughout, lowest first; the highest if none does."""
    keeps = np.flatnonzero(usual.worst_ms(model) <= deadline_ms + LATE_MS)
    return keeps.tolist() or [model.fastest]


class Paper(Governor):
    """The level nearest to f_max x d / (N - i) at exit i of N with the foretold exit d further (Li et al. 2023, code).

    The highest level up to the first exit. A prediction that was too early has spent the slack, and nearest may be
    lower: deadlines can be missed, and are reported.
    """

    name: ClassVar[str] = "paper"
    needs_prediction: ClassVar[bool] = True

    def rule(self, model: EnergyModel, usual: Usual, deadline_ms: float) -> Rule:  # noqa: ARG002
        return partial(self._levels, model)

    def _levels(self, model: EnergyModel, load: Load) -> Levels:
        visited = load.visited
        n, exits = visited.shape
        level, before = np.full((n, exits), model.fastest), np.full(n, -1)
        frequency = np.array(model.profile.frequency_mhz.values)
        for index in range(exits):
            rows = np.flatnonzero(visited[:, index])
            came = before[rows]
            wanted = frequency[-1] * (index - came) / np.maximum(exits - 1 - came, 1)
            nearest = np.abs(frequency[None] - wanted[:, None]).argmin(1)
            level[rows, index] = np.where(came < 0, model.fastest, nearest)
            before[rows] = index
        return Levels(level, model.fastest)


class Pace(Governor):
    """The least expected energy among plans that keep the deadline on the longest path; see pace.py.

    What follows the next visit is planned by the shares of validation; whether an input goes on from the next visit,
    by what the predictor foretold for that very input. Where holding one level needs less on validation, it does; also
    where a whole inference is shorter than a change of level. At a deadline equal to the longest path there is no
    slack, and it is `race`.
    """

    name: ClassVar[str] = "pace"

    def rule(self, model: EnergyModel, usual: Usual, deadline_ms: float) -> Rule:
        def spent(rule: Rule) -> float:
            found = rule(usual.load)
            return float(totals(model, usual.load.visited, found.level, found.rest, deadline_ms).energy_mj.mean())

        rules: list[Rule] = [partial(held, level=level) for level in keeping(model, usual, deadline_ms)]
        planner = None if is_shorter_than_a_change(model, usual) else Planner.of(model, usual, deadline_ms)
        if planner is not None:
            rules.append(planner.levels)
        return min(rules, key=spent)


def is_shorter_than_a_change(model: EnergyModel, usual: Usual) -> bool:
    """Tell whether the longest path takes less time than one change of level."""
    return bool(usual.worst_ms(model)[-1] < model.transition_ms)


@dataclass(frozen=True)
class Planner:
    """Plans for the usual way, and for that of each promise; each input follows them by what is foretold of it."""

    model: EnergyModel
    usual: Usual
    plan: Plan
    promised: Mapping[int, Plan]
    deadline_ms: float

    @classmethod
    def of(cls, model: EnergyModel, usual: Usual, deadline_ms: float) -> Planner | None:
        """Plan; None where time, which is rounded down, leaves no plan."""
        found = plan(model, usual.way.visits, usual.way.leaves, deadline_ms)
        if not np.isfinite(found.start_mj):
            return None
        promised = {
            last: with_rest(model, way.visits, way.leaves, deadline_ms, found.rest) for last, way in usual.ways.items()
        }
        return cls(model, usual, found, promised, deadline_ms)

    def levels(self, load: Load) -> Levels:
        """Choose exit by exit."""
        model, every = self.model, np.arange(self.model.profile.levels)
        n, exits = load.visited.shape
        level, before = np.full((n, exits), model.fastest), np.full(n, -1)
        left, now = np.full(n, self.deadline_ms), np.full(n, self.plan.rest)
        for index in range(exits):
            rows = np.flatnonzero(load.visited[:, index])
            if not len(rows):
                continue
            start = before[rows] + 1
            changed = every[None] != now[rows, None]  # [n, levels]
            remains = left[rows, None] - model.time_ms[start, index] - changed * model.transition_ms
            cost = model.energy_mj[start, index] + changed * model.transition_mj
            cost = cost + self._ahead(load, rows, index, remains)
            best = np.where(np.isfinite(cost).any(1), cost.argmin(1), model.fastest)
            level[rows, index] = best
            left[rows] = remains[np.arange(len(rows)), best]
            now[rows], before[rows] = best, index
        return Levels(level, self.plan.rest)

    def _ahead(self, load: Load, rows: Array, index: int, remains: Array) -> Array:
        """Give what is expected to follow the visit of an exit, [n, levels]; infinite where it might be too late."""
        cost = np.empty(remains.shape)
        promise = load.last[rows, index]
        for last in np.unique(promise).tolist():
            here = promise == last
            way, planned = self.usual.ways.get(last, self.usual.way), self.promised.get(last, self.plan)
            cost[here] = self._follows(way, planned, load.stays[rows[here], index], index, remains[here])
        return np.where(remains + LATE_MS >= self._needs(load, rows, index), cost, np.inf)

    def _follows(self, way: Way, planned: Plan, foretold: Array, index: int, remains: Array) -> Array:
        """Give what is expected to follow on a way; `foretold` [n] is the chance to go on, NaN where none was said."""
        visits = way.visits
        every = np.broadcast_to(np.arange(self.model.profile.levels), remains.shape)
        at = next((place for place, visit in enumerate(visits) if visit >= index), len(visits) - 1)
        usually = 1 - way.leaves[at] if visits[at] == index else 0.0
        stays = np.where(np.isnan(foretold), usually, foretold)[:, None]
        cost = _weighed(1 - stays, answered_mj(self.model, remains, every, planned.rest))
        if at + 1 < len(visits):
            future = planned.at(at + 1, remains, every)
            fast = self.model.energy_mj[index + 1, -1, -1] + self.model.transition_mj
            cost = cost + stays * np.where(np.isinf(future), fast, future)
        return np.asarray(cost)

    def _needs(self, load: Load, rows: Array, index: int) -> Array:
        """Give the time that must be left behind an exit at each level, [n, levels], so that the answer is in time.

        On the longest way nothing is faster than to hold the level, or to change to the highest at once.
        """
        model, usual = self.model, self.usual
        different, which = np.unique(
            np.stack([load.last[rows, index], load.most[rows, index]], 1), axis=0, return_inverse=True
        )
        ahead = np.array([model.ahead_ms(usual.may, index, last, most) for last, most in different])
        needs: Array = np.minimum(ahead, ahead[:, -1:] + model.transition_ms)[which.reshape(-1)]
        return needs


def _weighed(chance: Array, cost: Array) -> Array:
    """Give the cost times its chance; what is too late stays infinite, however unlikely."""
    result: Array = np.where(np.isinf(cost), np.inf, chance * np.where(np.isinf(cost), 0.0, cost))
    return result


def leaving(visits: tuple[int, ...], exit_: Array) -> Array:
    """Give the share of those that come to each of `visits` that leave there, from the exits [N] at which they left.

    Who left between two of them counts at the second.
    """
    since = (-1, *visits[:-1])
    reach = np.array([(exit_ > before).sum() for before in since])
    here = np.array([((exit_ > before) & (exit_ <= visit)).sum() for before, visit in zip(since, visits, strict=True)])
    result: Array = np.where(reach > 0, here / np.maximum(reach, 1), 0.0)
    result[-1] = 1.0
    return result


GOVERNORS: tuple[Governor, ...] = (Race(), Constant(), Paper(), Pace())
