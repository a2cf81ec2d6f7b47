"""What every governor is: it chooses the level at which each stretch of a path runs. numpy only."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar, TypeAlias

import numpy as np

from coc_cli.dvfs.energy import Array, EnergyModel

LATE_MS = 1e-9


@dataclass(frozen=True)
class LevelChoice:
    """What a governor chose: a level for the stretch that ends at each exit, [N, E + 1], and one for resting."""

    level: Array
    rest: int

    @property
    def are_one(self) -> bool:
        """Whether all runs at one level."""
        return bool((self.level == self.rest).all())


@dataclass(frozen=True)
class PathBatch:
    """The paths that a governor chooses levels for, and what was known of each input on its way.

    Commitments (`latest_exit`, `max_visits`) only ever become tighter; deadlines rest on them.
    """

    visited: Array  # bool [N, E + 1]
    continue_probability: Array  # [N, E + 1]: to go on from an exit, predicted before it was visited; NaN where not
    latest_exit: Array  # [N, E + 1]: the exit by which an input was bound to answer, before it visited an exit
    max_visits: Array  # [N, E + 1]: how many exits it would visit at most between that exit and the answer

    def __len__(self) -> int:
        return len(self.visited)

    @cached_property
    def stretch_rates(self) -> Array:
        """How many inputs run each stretch [from + 1, to], as a fraction of all; [E + 1, E + 1]."""
        n, exits = self.visited.shape
        before, rates = np.zeros(n, dtype=int), np.zeros((exits, exits))
        for index in range(exits):
            rows = np.flatnonzero(self.visited[:, index])
            rates[:, index] = np.bincount(before[rows], minlength=exits) / n
            before[rows] = index + 1
        return rates


@dataclass(frozen=True)
class TypicalPath:
    """The exits that inputs visit one after the other, the answer's last, and the rate at which they leave at each.

    Rates are of those that come so far, [visits]; the last is 1.
    """

    visits: tuple[int, ...]
    exit_rates: Array


@dataclass(frozen=True)
class PathStatistics:
    """What is known of a policy beforehand, from validation."""

    may_visit: tuple[int, ...]  # the exits that an input may visit; the first of them it visits anyway
    max_visits: int  # how many of them at most between the first and the answer
    typical: TypicalPath  # of all inputs
    by_latest_exit: Mapping[int, TypicalPath]  # of those that are bound to answer before the final output
    validation: PathBatch  # validation's own paths, on which plans are tried
    last_exit: int  # at which every input leaves that comes so far
    answers_at_first: bool = False  # every input answers at the first exit that it visits

    def worst_ms(self, model: EnergyModel) -> Array:
        """Return the time of the longest path at each level throughout, [levels]."""
        if self.answers_at_first:
            return model.ahead_ms(self.may_visit, -1, self.last_exit, 0)
        first = self.may_visit[0]
        ahead = model.ahead_ms(self.may_visit, first, self.last_exit, self.max_visits)
        result: Array = model.time_ms[0, first] + ahead
        return result


Rule: TypeAlias = Callable[[PathBatch], LevelChoice]


class Governor(ABC):
    """A way to choose levels."""

    name: ClassVar[str]
    needs_prediction: ClassVar[bool] = False  # it sets levels by the predicted exit
    keeps_deadlines: ClassVar[bool] = True  # wherever the longest path can
    varies: ClassVar[bool] = False  # it may change the level on the way

    @abstractmethod
    def rule(self, model: EnergyModel, statistics: PathStatistics, deadline_ms: float) -> Rule:
        """Plan by what is known beforehand; the rule chooses a level for every stretch of a batch of paths.

        It knows at each exit no more than had been predicted by then.
        """


def hold_level(batch: PathBatch, level: int) -> LevelChoice:
    """Return one level for all."""
    return LevelChoice(np.full(batch.visited.shape, level), level)


def levels_within(model: EnergyModel, statistics: PathStatistics, deadline_ms: float) -> list[int]:
    """Return the levels that keep the deadline when held throughout, lowest first; the highest if none does."""
    within = np.flatnonzero(statistics.worst_ms(model) <= deadline_ms + LATE_MS)
    return within.tolist() or [model.fastest]


def held_mj(model: EnergyModel, batch: PathBatch, deadline_ms: float) -> Array:
    """Return the mean energy of paths that end in time, at each level throughout, waiting included; [levels]."""
    time, energy = (np.tensordot(batch.stretch_rates, part, 2) for part in (model.time_ms, model.energy_mj))
    result: Array = energy + (deadline_ms - time) * model.idle_mw / 1e3
    return result


def best_level(model: EnergyModel, statistics: PathStatistics, deadline_ms: float) -> int:
    """Return the level that needs least on validation, of those that keep the deadline; the highest if none does."""
    within = levels_within(model, statistics, deadline_ms)
    return within[int(held_mj(model, statistics.validation, deadline_ms)[within].argmin())]


def is_shorter_than_a_change(model: EnergyModel, statistics: PathStatistics) -> bool:
    """Return whether the longest path takes less time than one change of level, or than a level takes to settle."""
    return bool(statistics.worst_ms(model)[-1] < max(model.transition_ms, model.settle_ms))


def exit_rates(visits: tuple[int, ...], exit_: Array) -> Array:
    """Return the rate of those that come to each of `visits` that leave there, from the exits [N] at which they left.

    Who left between two of them counts at the second.
    """
    since = (-1, *visits[:-1])
    reach = np.array([(exit_ > before).sum() for before in since])
    here = np.array([((exit_ > before) & (exit_ <= visit)).sum() for before, visit in zip(since, visits, strict=True)])
    result: Array = np.where(reach > 0, here / np.maximum(reach, 1), 0.0)
    result[-1] = 1.0
    return result
