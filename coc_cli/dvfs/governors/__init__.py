"""Governors: at which level each stretch of a path runs. One line a governor."""

from __future__ import annotations

from coc_cli.dvfs.governors.constant import Constant
from coc_cli.dvfs.governors.governor import Governor
from coc_cli.dvfs.governors.pace import Pace
from coc_cli.dvfs.governors.paper import Paper
from coc_cli.dvfs.governors.race import Race

GOVERNORS: tuple[Governor, ...] = (
    Race(),
    Constant(),
    Paper(),
    Pace(),
)
