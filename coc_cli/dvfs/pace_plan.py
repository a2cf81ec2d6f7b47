"""Pace: the plan of levels with the least expected energy that keeps the deadline in the worst case.

For work whose amount is only known as a distribution the best speed rises as work goes on (PACE, Lorch and Smith 2001).
Here levels are discrete, may change at visited exits only, and each change costs time and energy, so the plan is found
by dynamic programming backwards over exits, time left and level. Time left is rounded down, so a plan never hopes for
time that is not there. Where a level takes time to settle, only changes are planned that settle within the stretch at
whose begin they are asked for.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from coc_cli.dvfs.energy import Array, EnergyModel, Levels, run_stretch

LEAST_TICKS, MOST_TICKS = 1000, 5000  # steps of time in a deadline
STEPS = 5e6  # of the dynamic programme, over which ticks are not refined
LATE = -1e-9  # ms


@dataclass(frozen=True)
class PacePlan:
    """What going on costs on average: after each visit, with so much time left, at each level; infinite if too late."""

    cost_mj: Array  # [visits, levels, ticks + 1]; the first is the start, before any exit
    tick_ms: float
    rest: int  # where the device rests

    @property
    def start_mj(self) -> float:
        """What an input costs on average; infinite where no plan keeps the deadline."""
        return float(self.cost_mj[0, self.rest, -1])

    def alone(self) -> PacePlan:
        """Return the plan by itself, without others that were made beside it."""
        return replace(self, cost_mj=self.cost_mj.copy())

    def at(self, visit: int, left_ms: Array, level: Array) -> Array:
        """Look up the cost of going on from a visit with time left [n] at a level [n]."""
        tick = np.floor(left_ms / self.tick_ms + 1e-9).astype(int)
        cost = self.cost_mj[visit, level, np.clip(tick, 0, self.cost_mj.shape[2] - 1)]
        result: Array = np.where(tick < 0, np.inf, cost)
        return result


def answered_mj(model: EnergyModel, left_ms: Array, level: Array | int, rest: int) -> Array:
    """Return what follows the answer: going back to rest, and waiting; infinite if it came too late."""
    back = np.asarray(level) != rest
    idle = np.maximum(0.0, left_ms - back * model.transition_ms) * model.idle_mw / 1e3
    result: Array = np.where(left_ms < LATE, np.inf, idle + back * model.transition_mj)
    return result


def plan_levels(
    model: EnergyModel, visits: tuple[int, ...], exit_rates: Array, deadline_ms: float, rests: Array | None = None
) -> PacePlan:
    """Plan for inputs that visit the exits `visits` in turn and leave at each at the rate `exit_rates` [visits].

    `exit_rates` are of those that are there; the last is 1. The resting level is the one of least total cost, of all or
    of `rests`.
    """
    plans = _plans(model, visits, exit_rates, deadline_ms, np.arange(model.profile.levels) if rests is None else rests)
    return min(plans, key=lambda one: one.start_mj).alone()


def plan_with_rest(
    model: EnergyModel, visits: tuple[int, ...], exit_rates: Array, deadline_ms: float, rest: int
) -> PacePlan:
    """Plan for a device that rests at a level."""
    return _plans(model, visits, exit_rates, deadline_ms, np.array([rest]))[0]


def _plans(
    model: EnergyModel, visits: tuple[int, ...], exit_rates: Array, deadline_ms: float, rests: Array
) -> list[PacePlan]:
    """Plan for a device that rests at each of some levels."""
    levels = model.profile.levels
    ticks = int(np.clip(STEPS / (len(visits) * levels**2), LEAST_TICKS, MOST_TICKS))
    cost, tick_ms = np.full((len(rests), len(visits), levels, ticks + 1), np.inf), deadline_ms / ticks
    starts = (-1, *visits[:-1])
    for index in range(len(visits) - 1, -1, -1):
        follows = cost[:, index + 1] if exit_rates[index] < 1 else None
        ahead = _Ahead(
            model, (starts[index] + 1, visits[index]), float(exit_rates[index]), follows, rests, ticks, tick_ms
        )
        cost[:, index] = ahead.best()
    return [PacePlan(one, tick_ms, rest) for one, rest in zip(cost, rests.tolist(), strict=True)]


@dataclass(frozen=True)
class _Ahead:
    """What a stretch and all that follows cost, by the level at which it begins and the time left."""

    model: EnergyModel
    stretch: tuple[int, int]
    exit_rate: float
    follows: Array | None  # [rests, levels, ticks + 1], as planned from the visit to which the stretch leads
    rests: Array
    ticks: int
    tick_ms: float

    def best(self) -> Array:
        """Return the least cost with a change before the stretch or none, [rests, levels, ticks + 1]."""
        model = self.model
        levels = np.arange(model.profile.levels)
        time, energy = model.time_ms[self.stretch], model.energy_mj[self.stretch]
        cost = np.full((len(self.rests), len(levels), self.ticks + 1), np.inf)
        for level in levels.tolist():
            self._lower(cost[:, level], level, time[level], energy[level])
        if model.settle_ms == 0:
            changed = np.full((len(self.rests), self.ticks + 1), np.inf)
            for level in levels.tolist():
                self._lower(changed, level, time[level] + model.transition_ms, energy[level] + model.transition_mj)
            np.minimum(cost, changed[:, None], out=cost)
            return cost
        for now in levels[time >= model.settle_ms].tolist():  # where a change takes effect within the stretch
            begun = Levels.at(np.full(len(levels), now)).asking(levels, model.settle_ms)
            ran = run_stretch(model, *self.stretch, begun)
            takes, spends = ran.time_ms + model.transition_ms, ran.energy_mj + model.transition_mj
            for level in levels[levels != now].tolist():
                self._lower(cost[:, now], level, takes[level], spends[level])
        return cost

    def _lower(self, cost: Array, level: int, takes_ms: float, spends_mj: float) -> None:
        """Lower a cost [rests, ticks + 1] to that of a stretch which takes and spends so much and ends at a level."""
        late = int(np.ceil(takes_ms / self.tick_ms - 1e-9))  # ticks that pass; time left is rounded down
        if late > self.ticks:
            return
        remains = np.arange(late, self.ticks + 1) * self.tick_ms - takes_ms
        ahead: Array = np.full((len(self.rests), len(remains)), spends_mj)
        if self.exit_rate > 0:
            stays, goes_back = (self.exit_rate * answered_mj(self.model, remains, level, rest) for rest in (level, -1))
            ahead += np.where(self.rests[:, None] == level, stays, goes_back)
        if self.follows is not None:
            ahead += (1 - self.exit_rate) * self.follows[:, level, : self.ticks + 1 - late]
        np.minimum(cost[:, late:], ahead, out=cost[:, late:])
