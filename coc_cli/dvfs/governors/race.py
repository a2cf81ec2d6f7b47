"""Race to idle: the highest level, then wait."""

from __future__ import annotations

from functools import partial
from typing import ClassVar

from coc_cli.dvfs.energy import EnergyModel
from coc_cli.dvfs.governors.governor import Governor, PathStatistics, Rule, hold_level


class Race(Governor):
    """The highest level, then idle."""

    name: ClassVar[str] = "race"

    def rule(self, model: EnergyModel, statistics: PathStatistics, deadline_ms: float) -> Rule:  # noqa: ARG002
        return partial(hold_level, level=model.fastest)
