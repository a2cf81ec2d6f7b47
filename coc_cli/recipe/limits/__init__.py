"""Limits that a result must keep, or the run ends with exit code 3. One line a limit."""

from __future__ import annotations

from coc_cli.recipe.limits.limit import Limit
from coc_cli.recipe.limits.max_bytes import MaxBytes
from coc_cli.recipe.limits.max_drop import MaxDrop
from coc_cli.recipe.limits.min_bitops_ratio import MinBitopsRatio

_REGISTERED: tuple[Limit, ...] = (
    MaxDrop(),
    MinBitopsRatio(),
    MaxBytes(),
)
LIMITS: dict[str, Limit] = {limit.name: limit for limit in _REGISTERED}
