"""One level for all inputs, low enough to save energy and high enough for the deadline."""

from __future__ import annotations

from functools import partial
from typing import ClassVar

from coc_cli.dvfs.energy import EnergyModel
from coc_cli.dvfs.governors.governor import Governor, PathStatistics, Rule, hold_level, levels_within


class Constant(Governor):
    """The lowest level at which the longest path keeps the deadline, for all inputs; the device rests there too."""

    name: ClassVar[str] = "constant"

    def rule(self, model: EnergyModel, statistics: PathStatistics, deadline_ms: float) -> Rule:
        return partial(hold_level, level=levels_within(model, statistics, deadline_ms)[0])
