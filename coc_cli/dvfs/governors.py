"""Governors: at which level each stretch of a path runs. numpy only."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from coc_cli.dvfs.energy import Array, EnergyModel
from coc_cli.dvfs.pace import answered_mj, held_mj, plan, weighed


@dataclass(frozen=True)
class Levels:
    """What a governor chose: a level for the stretch that ends at each exit, [N, E + 1], and one for resting."""

    level: Array
    rest: int


@dataclass(frozen=True)
class Load:
    """The paths that a governor chooses levels for, and what could be known of them beforehand."""

    visited: Array  # bool [N, E + 1]
    longest: tuple[int, ...]  # the exits that the longest path of the policy visits
    leaves: Array  # for each of them: the share of validation inputs, of those that come so far, that leave there
    stays: Array  # [N, E + 1]: the chance foretold on the way to go on from an exit; NaN where none was


class Governor(ABC):
    """A rule from paths to levels."""

    name: ClassVar[str]
    needs_prediction: ClassVar[bool] = False  # it sets levels by the exit foretold

    @abstractmethod
    def levels(self, model: EnergyModel, load: Load, deadline_ms: float) -> Levels:
        """Choose a level for every stretch, knowing at each exit no more than had been foretold by then."""


class Race(Governor):
    """The highest level, then idle."""

    name: ClassVar[str] = "race"

    def levels(self, model: EnergyModel, load: Load, deadline_ms: float) -> Levels:  # noqa: ARG002
        return Levels(np.full(load.visited.shape, model.fastest), model.fastest)


class Constant(Governor):
    """The lowest level at which the longest path keeps the deadline, for all inputs; the device rests there too."""

    name: ClassVar[str] = "constant"

    def levels(self, model: EnergyModel, load: Load, deadline_ms: float) -> Levels:
        keeps = np.flatnonzero(model.path_ms(load.longest) <= deadline_ms + 1e-9)
        chosen = int(keeps[0]) if len(keeps) else model.fastest
        return Levels(np.full(load.visited.shape, chosen), chosen)


class Paper(Governor):
    """The level nearest to f_max x d / (N - i) at exit i of N with the foretold exit d further (Li et al. 2023, code).

    The highest level up to the first exit. A prediction that was too early has spent the slack, and nearest may be
    lower: deadlines can be missed, and are reported.
    """

    name: ClassVar[str] = "paper"
    needs_prediction: ClassVar[bool] = True

    def levels(self, model: EnergyModel, load: Load, deadline_ms: float) -> Levels:  # noqa: ARG002
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

    What follows the next visit is planned by the shares of validation; whether an input goes on from it, by what the
    predictor foretold for that very input. Where holding one level is expected to need less, it does. At a deadline
    equal to the longest path there is no slack, and it is `race`.
    """

    name: ClassVar[str] = "pace"

    def levels(self, model: EnergyModel, load: Load, deadline_ms: float) -> Levels:
        planned = plan(model, load.longest, load.leaves, deadline_ms)
        n, exits = load.visited.shape
        rest = planned.rest
        expected = planned.at(0, np.array([deadline_ms]), np.array([rest]))[0]
        held = [held_mj(model, load.longest, load.leaves, deadline_ms, level) for level in range(model.profile.levels)]
        if min(held) <= expected:  # also where time rounded down leaves no plan
            steady = int(np.argmin(held)) if np.isfinite(min(held)) else model.fastest
            return Levels(np.full(load.visited.shape, steady), steady)
        level, before = np.full((n, exits), model.fastest), np.full(n, -1)
        left, now, every = np.full(n, deadline_ms), np.full(n, rest), np.arange(model.profile.levels)
        for index in range(exits):
            rows = np.flatnonzero(load.visited[:, index])
            changed = every[None] != now[rows, None]  # [n, levels]
            remains = left[rows, None] - model.time_ms[before[rows] + 1, index] - changed * model.transition_ms
            cost = model.energy_mj[before[rows] + 1, index] + changed * model.transition_mj
            stays = self._stays(load, rows, index)[:, None]
            cost = cost + weighed(1 - stays, answered_mj(model, remains, every[None], rest))
            following = _position(load.longest, index) + 1
            if following < len(load.longest):
                future = planned.at(following, remains, np.broadcast_to(every, remains.shape))
                cost = cost + np.where(stays > 0, weighed(stays, future), 0.0)  # who has promised to leave does
            best = np.where(np.isfinite(cost).any(1), cost.argmin(1), model.fastest)
            level[rows, index] = best
            left[rows] = remains[np.arange(len(rows)), best]
            now[rows], before[rows] = best, index
        return Levels(level, rest)

    def _stays(self, load: Load, rows: Array, index: int) -> Array:
        """Give the chance to go on from an exit, as foretold, else as validation inputs did; [n]."""
        at = _position(load.longest, index)
        usual = 1 - load.leaves[at] if load.longest[at] == index else 0.0
        foretold = load.stays[rows, index]
        result: Array = np.where(np.isnan(foretold), usual, foretold)
        return result


def _position(visits: tuple[int, ...], exit_: int) -> int:
    """Give the place of an exit among those of the longest path, or of the next behind it."""
    return next(index for index, visit in enumerate(visits) if visit >= exit_)


def leaving(visits: tuple[int, ...], exit_: Array) -> Array:
    """Give the share of those that come to each of `visits` that leave there, from the exits [N] at which they left."""
    reach = np.array([(exit_ >= visit).sum() for visit in visits])
    here = np.array([(exit_ == visit).sum() for visit in visits])
    result: Array = np.where(reach > 0, here / np.maximum(reach, 1), 0.0)
    result[-1] = 1.0
    return result


GOVERNORS: tuple[Governor, ...] = (Race(), Constant(), Paper(), Pace())
