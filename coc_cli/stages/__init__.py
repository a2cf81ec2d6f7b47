"""Stages: what a chain is made of. One line a stage."""

from __future__ import annotations

from coc_cli.stages.distill import Distill
from coc_cli.stages.early_exit import EarlyExit
from coc_cli.stages.prune import Prune
from coc_cli.stages.quantize import Quantize
from coc_cli.stages.stage import Stage

_REGISTERED: tuple[type[Stage], ...] = (
    Distill,
    Prune,
    Quantize,
    EarlyExit,
)
STAGES: dict[str, type[Stage]] = {stage.name: stage for stage in _REGISTERED}
