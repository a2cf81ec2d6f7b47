"""The governor of Predictive Exit (Li et al. 2023, as in their code)."""

from __future__ import annotations

from functools import partial
from typing import ClassVar

import numpy as np

from coc_cli.dvfs.energy import EnergyModel
from coc_cli.dvfs.governors.governor import Governor, LevelChoice, PathBatch, PathStatistics, Rule


class Paper(Governor):
    """The level nearest to f_max x d / (N - i) at exit i of N with the predicted exit d further.

    The highest level up to the first exit. A prediction that was too early has spent the slack, and nearest may be
    lower: deadlines can be missed, and are reported.
    """

    name: ClassVar[str] = "paper"
    needs_prediction: ClassVar[bool] = True
    keeps_deadlines: ClassVar[bool] = False
    varies: ClassVar[bool] = True

    def rule(self, model: EnergyModel, statistics: PathStatistics, deadline_ms: float) -> Rule:  # noqa: ARG002
        return partial(self._levels, model)

    def _levels(self, model: EnergyModel, batch: PathBatch) -> LevelChoice:
        visited = batch.visited
        n, exits = visited.shape
        level, before = np.full((n, exits), model.fastest), np.full(n, -1)
        frequency = np.array(model.profile.frequency_mhz.values)
        for index in range(exits):
            rows = np.flatnonzero(visited[:, index])
            came = before[rows]
            wanted_mhz = frequency[-1] * (index - came) / np.maximum(exits - 1 - came, 1)
            nearest = np.abs(frequency[None] - wanted_mhz[:, None]).argmin(1)
            level[rows, index] = np.where(came < 0, model.fastest, nearest)
            before[rows] = index
        return LevelChoice(level, model.fastest)
