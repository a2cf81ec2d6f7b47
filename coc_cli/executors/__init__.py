"""Where the jobs of an experiment run, by `--executor`. One line an executor."""

from __future__ import annotations

from coc_cli.registry import registered
from coc_cli.executors.executor import Executor

from coc_cli.executors.local import Local
from coc_cli.executors.on_ray import OnRay

EXECUTORS = registered(vars(), Executor)
