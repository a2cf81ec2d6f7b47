"""Governors: at which level each stretch of a path runs. numpy only."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from coc_cli.dvfs.energy import Array, EnergyModel


@dataclass(frozen=True)
class Levels:
    """What a governor chose: a level for the stretch that ends at each exit, [N, E + 1], and one for resting."""

    level: Array
    rest: int


class Governor(ABC):
    """A rule from paths to levels."""

    name: ClassVar[str]
    needs_prediction: ClassVar[bool] = False  # it sets levels by the exit foretold

    @abstractmethod
    def levels(self, model: EnergyModel, visited: Array, longest_ms: Array, deadline_ms: float) -> Levels:
        """Choose for the paths `visited` [N, E + 1].

        `longest_ms` [levels] is the time of the longest path that the policy can take, at each level.
        """


class Race(Governor):
    """The highest level, then idle."""

    name: ClassVar[str] = "race"

    def levels(self, model: EnergyModel, visited: Array, longest_ms: Array, deadline_ms: float) -> Levels:  # noqa: ARG002
        return Levels(np.full(visited.shape, model.fastest), model.fastest)


class Constant(Governor):
    """The lowest level at which the longest path keeps the deadline, for all inputs; the device rests there too."""

    name: ClassVar[str] = "constant"

    def levels(self, model: EnergyModel, visited: Array, longest_ms: Array, deadline_ms: float) -> Levels:
        keeps = np.flatnonzero(longest_ms <= deadline_ms + 1e-9)
        chosen = int(keeps[0]) if len(keeps) else model.fastest
        return Levels(np.full(visited.shape, chosen), chosen)


class Paper(Governor):
    """The level nearest to f_max x d / (N - i) at exit i of N with the foretold exit d further (Li et al. 2023, code).

    The highest level up to the first exit. A prediction that was too early has spent the slack, and nearest may be
    lower: deadlines can be missed, and are reported.
    """

    name: ClassVar[str] = "paper"
    needs_prediction: ClassVar[bool] = True

    def levels(self, model: EnergyModel, visited: Array, longest_ms: Array, deadline_ms: float) -> Levels:  # noqa: ARG002
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


GOVERNORS: tuple[Governor, ...] = (Race(), Constant(), Paper())
