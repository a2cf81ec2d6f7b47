"""Governors: at which level each stretch of a path runs. One line a governor, in the order of tables and charts."""

from __future__ import annotations

from coc_cli.registry import registered
from coc_cli.dvfs.governors.governor import Governor

from coc_cli.dvfs.governors.race import Race
from coc_cli.dvfs.governors.constant import Constant
from coc_cli.dvfs.governors.paper import Paper
from coc_cli.dvfs.governors.pace import Pace

GOVERNORS = tuple(governor() for governor in registered(vars(), Governor).values())
