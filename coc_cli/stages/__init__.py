"""Stages: what a chain is made of. One line a stage, in the order in which recipes name them."""

from __future__ import annotations

from coc_cli.registry import registered
from coc_cli.stages.stage import Stage

from coc_cli.stages.distill import Distill
from coc_cli.stages.prune import Prune
from coc_cli.stages.quantize import Quantize
from coc_cli.stages.early_exit import EarlyExit

STAGES = registered(vars(), Stage)
