"""Limits that a result must keep, or the run ends with exit code 3. One line a limit."""

from __future__ import annotations

from coc_cli.registry import registered
from coc_cli.recipe.limits.limit import Limit

from coc_cli.recipe.limits.max_drop import MaxDrop
from coc_cli.recipe.limits.min_metric import MinMetric
from coc_cli.recipe.limits.min_bitops_ratio import MinBitopsRatio
from coc_cli.recipe.limits.max_bytes import MaxBytes
from coc_cli.recipe.limits.max_latency_ms import MaxLatencyMs
from coc_cli.recipe.limits.min_speedup import MinSpeedup
from coc_cli.recipe.limits.min_integer import MinInteger

LIMITS = {name: limit() for name, limit in registered(vars(), Limit).items()}
