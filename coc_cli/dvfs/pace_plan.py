"""Pace: the plan of levels with the least expected energy that keeps the deadline in the worst case.

For work whose amount is only known as a distribution the best speed rises as work goes on (PACE, Lorch and Smith 2001).
Here levels are discrete, may change at visited exits only, and each change costs time and energy, so the plan is found
by dynamic programming backwards over exits, time left and level. Time left is rounded down, so a plan never hopes for
time that is not there.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from coc_cli.dvfs.energy import Array, EnergyModel

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


def plan_levels(model: EnergyModel, visits: tuple[int, ...], exit_rates: Array, deadline_ms: float) -> PacePlan:
    """Plan for inputs that visit the exits `visits` in turn and leave at each at the rate `exit_rates` [visits].

    `exit_rates` are of those that are there; the last is 1. The resting level is the one of least total cost.
    """
    plans = _plans(model, visits, exit_rates, deadline_ms, np.arange(model.profile.levels))
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
        stretch, rate = (starts[index] + 1, visits[index]), float(exit_rates[index])
        follows = cost[:, index + 1] if rate < 1 else None
        held, changed = (
            _ahead(model, follows, stretch, rate, rests, ticks, tick_ms, change=change) for change in (0, 1)
        )
        np.minimum(held, changed.min(1, keepdims=True), out=cost[:, index])
    return [PacePlan(one, tick_ms, rest) for one, rest in zip(cost, rests.tolist(), strict=True)]


def _ahead(
    model: EnergyModel,
    follows: Array | None,
    stretch: tuple[int, int],
    exit_rate: float,
    rests: Array,
    ticks: int,
    tick_ms: float,
    *,
    change: int,
) -> Array:
    """Return the cost of a stretch at each level and of what follows, [rests, levels, ticks + 1].

    There is a change before it or none. `follows` is what was planned from the visit to which the stretch leads.
    """
    takes = model.time_ms[stretch] + change * model.transition_ms
    cost = np.full((len(rests), len(takes), ticks + 1), np.inf)
    late = np.ceil(takes / tick_ms - 1e-9).astype(int)  # ticks that pass; time left is rounded down
    for level in np.flatnonzero(late <= ticks).tolist():
        remains = np.arange(late[level], ticks + 1) * tick_ms - takes[level]
        here_mj = model.energy_mj[stretch][level] + change * model.transition_mj
        ahead: Array = np.full((len(rests), len(remains)), here_mj)
        if exit_rate > 0:
            stays, goes_back = (exit_rate * answered_mj(model, remains, level, rest) for rest in (level, -1))
            ahead += np.where(rests[:, None] == level, stays, goes_back)
        if follows is not None:
            ahead += (1 - exit_rate) * follows[:, level, : ticks + 1 - late[level]]
        cost[:, level, late[level] :] = ahead
    return cost
