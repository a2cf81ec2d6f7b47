"""One level for all inputs: of those that keep the deadline the one that needs least energy."""

from __future__ import annotations

from functools import partial
from typing import ClassVar

from coc_cli.dvfs.energy import EnergyModel
from coc_cli.dvfs.governors.governor import Governor, PathStatistics, Rule, best_level, hold_level


class Constant(Governor):
    """The level of least energy at which the longest path keeps the deadline; the device rests there too."""

    name: ClassVar[str] = "constant"

    def rule(self, model: EnergyModel, statistics: PathStatistics, deadline_ms: float) -> Rule:
        return partial(hold_level, level=best_level(model, statistics, deadline_ms))
