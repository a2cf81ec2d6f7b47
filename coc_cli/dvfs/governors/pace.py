"""The least expected energy among plans that keep the deadline on the longest path; the plan is in pace_plan.py."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from operator import itemgetter
from typing import ClassVar

import numpy as np

from coc_cli.dvfs.energy import Array, EnergyModel, Levels, run_stretch, totals
from coc_cli.dvfs.governors.governor import (
    LATE_MS,
    Governor,
    LevelChoice,
    PathBatch,
    PathStatistics,
    Rule,
    TypicalPath,
    best_level,
    hold_level,
    is_shorter_than_a_change,
)
from coc_cli.dvfs.pace_plan import PacePlan, answered_mj, plan_levels, plan_with_rest


class Pace(Governor):
    """Levels that rise as it becomes less likely that there is more to do.

    What follows the next visit is planned by the rates of validation; whether an input goes on from the next visit, by
    what the predictor said of that very input. Where holding one level needs less on validation, it does; also where a
    complete inference is shorter than a change of level. At a deadline equal to the longest path there is no slack, and
    it is `race`.
    """

    name: ClassVar[str] = "pace"
    varies: ClassVar[bool] = True

    def rule(self, model: EnergyModel, statistics: PathStatistics, deadline_ms: float) -> Rule:
        batch = statistics.validation

        def known(rule: Rule) -> tuple[float, Rule]:
            chosen = rule(batch)
            needs = totals(model, batch.visited, chosen.level, chosen.rest, deadline_ms)
            return float(needs.energy_mj.mean()), lambda other: chosen if other is batch else rule(other)

        rules: list[Rule] = [partial(hold_level, level=best_level(model, statistics, deadline_ms))]
        shorter = is_shorter_than_a_change(model, statistics)
        planner = None if shorter else Planner.of(model, statistics, deadline_ms)
        if planner is not None:
            rules.append(planner.levels)
        return min(map(known, rules), key=itemgetter(0))[1]


@dataclass(frozen=True)
class Planner:
    """Plans for the typical path, and for that of each latest exit; each input follows them by its prediction."""

    model: EnergyModel
    statistics: PathStatistics
    plan: PacePlan
    by_latest_exit: Mapping[int, PacePlan]
    deadline_ms: float

    @classmethod
    def of(cls, model: EnergyModel, statistics: PathStatistics, deadline_ms: float) -> Planner | None:
        """Return the plans; None where time, which is rounded down, leaves none."""
        typical, rests = statistics.typical, _rests(model, statistics, deadline_ms)
        if not len(rests):
            return None
        plan = plan_levels(model, typical.visits, typical.exit_rates, deadline_ms, rests)
        if not np.isfinite(plan.start_mj):
            return None
        by_latest_exit = {
            exit_: plan_with_rest(model, path.visits, path.exit_rates, deadline_ms, plan.rest)
            for exit_, path in statistics.by_latest_exit.items()
        }
        return cls(model, statistics, plan, by_latest_exit, deadline_ms)

    def levels(self, batch: PathBatch) -> LevelChoice:
        """Choose exit by exit."""
        model, every = self.model, np.arange(self.model.profile.levels)
        n, exits = batch.visited.shape
        level, before = np.full((n, exits), model.fastest), np.full(n, -1)
        left, now = np.full(n, self.deadline_ms), np.full(n, self.plan.rest)
        for index in range(exits):
            rows = np.flatnonzero(batch.visited[:, index])
            if not len(rows):
                continue
            start = before[rows] + 1
            changed = every[None] != now[rows, None]  # [n, levels]
            held = np.broadcast_to(now[rows, None], changed.shape)
            asked = Levels.at(held).asking(np.broadcast_to(every, changed.shape), model.settle_ms)
            ran = run_stretch(model, start[:, None], index, asked)
            remains = left[rows, None] - ran.time_ms - changed * model.transition_ms
            cost = ran.energy_mj + changed * model.transition_mj
            cost = cost + self._ahead(batch, rows, index, remains)
            cost = np.where(ran.after.left_ms > 0, np.inf, cost)  # it would not have settled by then
            best = np.where(np.isfinite(cost).any(1), cost.argmin(1), model.fastest)
            level[rows, index] = best
            left[rows] = remains[np.arange(len(rows)), best]
            now[rows], before[rows] = best, index
        return LevelChoice(level, self.plan.rest)

    def _ahead(self, batch: PathBatch, rows: Array, index: int, remains: Array) -> Array:
        """Return what is expected to follow the visit of an exit, [n, levels]; infinite where it might be too late."""
        cost = np.empty(remains.shape)
        latest = batch.latest_exit[rows, index]
        for exit_ in _present(latest)[0].tolist():
            here = latest == exit_
            path = self.statistics.by_latest_exit.get(exit_, self.statistics.typical)
            plan = self.by_latest_exit.get(exit_, self.plan)
            going_on = batch.continue_probability[rows[here], index]
            cost[here] = self._follows(path, plan, going_on, index, remains[here])
        return np.where(remains + LATE_MS >= self._needs(batch, rows, index), cost, np.inf)

    def _follows(self, path: TypicalPath, plan: PacePlan, predicted: Array, index: int, remains: Array) -> Array:
        """Return what is expected to follow on a path, [n, levels]; `predicted` [n] to go on, NaN where it was not.

        At exit 1 of a path over 0, 1 and 3 with a predicted probability to go on of 0.25: 0.75 of what the answer
        costs now (rest, wait) and 0.25 of what the plan says of its third visit with the time that then remains.
        """
        visits = path.visits
        every = np.broadcast_to(np.arange(self.model.profile.levels), remains.shape)
        at = next((place for place, visit in enumerate(visits) if visit >= index), len(visits) - 1)
        usual = 1 - path.exit_rates[at] if visits[at] == index else 0.0
        going_on = np.where(np.isnan(predicted), usual, predicted)[:, None]
        cost = _weighted(1 - going_on, answered_mj(self.model, remains, every, plan.rest))
        if at + 1 < len(visits):
            future = plan.at(at + 1, remains, every)
            fast = self.model.energy_mj[index + 1, -1, -1] + self.model.transition_mj
            cost = cost + going_on * np.where(np.isinf(future), fast, future)
        return np.asarray(cost)

    def _needs(self, batch: PathBatch, rows: Array, index: int) -> Array:
        """Return the time that must be left behind an exit at each level, [n, levels], so that the answer is in time.

        On the longest path nothing is faster than to hold the level, or to change to the highest at once, where that
        settles before the next visit, wherever it is.
        """
        model, may_visit = self.model, self.statistics.may_visit
        most = int(batch.max_visits.max()) + 1
        which = batch.latest_exit[rows, index] * most + batch.max_visits[rows, index]
        different, place = _present(which)
        ahead = np.array([model.ahead_ms(may_visit, index, *divmod(one, most)) for one in different.tolist()])
        change = np.full(model.profile.levels, model.transition_ms + model.settle_ms)
        if model.settle_ms and index + 1 < len(model.time_ms):
            change[model.time_ms[index + 1, index + 1 :].min(0) < model.settle_ms] = np.inf
        needs: Array = np.minimum(ahead, ahead[:, -1:] + change)[place[which]]
        return needs


def _present(numbers: Array) -> tuple[Array, Array]:
    """Return which small numbers there are, and at which place each is among them: without sorting them all."""
    seen = np.bincount(numbers) > 0
    return np.flatnonzero(seen), seen.cumsum() - 1


def _rests(model: EnergyModel, statistics: PathStatistics, deadline_ms: float) -> Array:
    """Return the levels from which the longest path can begin: held, or changed to the highest as soon as that settles.

    Where levels take effect at once the plan itself sees to that.
    """
    every = np.arange(model.profile.levels)
    if not model.settle_ms:
        return every
    longest = statistics.worst_ms(model)
    changed_ms = longest[-1] + model.transition_ms + model.settle_ms
    settles = model.time_ms[0].min(0) >= model.settle_ms
    result: Array = every[(longest <= deadline_ms + LATE_MS) | (settles & (changed_ms <= deadline_ms + LATE_MS))]
    return result


def _weighted(probability: Array, cost: Array) -> Array:
    """Return the cost times its probability; what is too late stays infinite, however unlikely."""
    result: Array = np.where(np.isinf(cost), np.inf, probability * np.where(np.isinf(cost), 0.0, cost))
    return result
