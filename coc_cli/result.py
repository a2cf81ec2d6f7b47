"""What a run found, as report.json says it: an entry a stage, factors between them, limits met or missed."""

from __future__ import annotations

import os
import platform
from dataclasses import asdict, dataclass
from datetime import datetime, timezone
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import coc_cli
from coc_cli.dvfs.machine import processor_name
from coc_cli.nets.cost import Cost, cost
from coc_cli.nets.spec import Spec
from coc_cli.plan import Step
from coc_cli.recipe.limits import LIMITS
from coc_cli.recipe.model import Limits

if TYPE_CHECKING:
    from coc_cli.tasks import Task


@dataclass(frozen=True)
class Made:
    """A stage's result as the cache keeps it: independent of where in which run it stands."""

    metric_value: float
    metric_ci95: tuple[float, float]
    n_test: int
    validation_value: float
    scores: str | list[float]  # of each test image: hexadecimal, a bit each if right; or errors in the metric's unit
    exits: list[dict[str, Any]]  # by exit, the final output last: share, metric_value, metric_all
    details: dict[str, Any]  # further figures of the task
    seconds: float
    epochs: list[dict[str, float]]
    sha256: str  # of the checkpoint
    environment: dict[str, Any]  # on which it was made


def packed(task: Task, scores: tuple[float, ...]) -> str | list[float]:
    """Give the images' scores as they are kept: errors to six digits, right or wrong as a bit, first image highest."""
    import numpy as np

    if task.sign < 0:
        return [float(f"{-score:.6g}") for score in scores]
    return np.packbits(np.array(scores, dtype=bool)).tobytes().hex()


def entry(step: Step, made: Made, spec: Spec, size: int) -> tuple[dict[str, Any], Cost]:
    """Give what report.json says of a stage by itself, and its mean cost; `compared` adds the ratios."""
    found = cost(spec).leaving([exit_["share"] for exit_ in made.exits])
    return {
        "index": step.index,
        "name": step.name,
        "metric_value": made.metric_value,
        "metric_ci95": list(made.metric_ci95),
        "n_test": made.n_test,
        "macs": found.macs,
        "bitops": found.bitops,
        "params": found.params,
        "checkpoint_bytes": size,
        "latency_ms": None,
        "exits": made.exits if len(made.exits) > 1 else [],
        "seconds": made.seconds,
        "validation_value": made.validation_value,
        **made.details,
        "environment": made.environment,
        "layers": [{**asdict(layer), "bitops": layer.bitops} for layer in found.layers],
    }, found


def compared(entries: list[tuple[dict[str, Any], Cost]], limits: Limits, sign: int) -> dict[str, Any]:
    """Give the parts of report.json that set stages against the baseline: stages, factors, limits, ok.

    `sign` is 1 if a larger metric is better, else -1.
    """
    first, baseline = entries[0]
    stages = [
        {
            **stage,
            "bitops_ratio": baseline.bitops / found.bitops,
            "bitops_ratio_nominal": found.nominal_ratio(baseline),
            "bytes_ratio": first["checkpoint_bytes"] / stage["checkpoint_bytes"],
        }
        for stage, found in entries
    ]
    factors = [
        {"index": now["index"], "name": now["name"], "ratio": before["bitops"] / now["bitops"]}
        for before, now in pairwise(stages)
    ]
    judged = _judged(limits, stages[0], stages[-1], sign)
    return {"ok": all(limit["ok"] for limit in judged), "stages": stages, "factors": factors, "limits": judged}


def _judged(limits: Limits, first: dict[str, Any], last: dict[str, Any], sign: int) -> list[dict[str, Any]]:
    judged = []
    for name, limit in limits.given.items():
        value = LIMITS[name].value(first, last, sign)
        judged.append({"name": name, "limit": limit, "value": value, "ok": LIMITS[name].is_met(limit, value)})
    return judged


def environment(device: str) -> dict[str, Any]:
    """Say on what a run was made."""
    import torch

    return {
        "coc": coc_cli.__version__,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "platform": platform.platform(),
        "processor": processor_name(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "device": torch.cuda.get_device_name(device) if device.startswith("cuda") else "cpu",
        "date": datetime.now(timezone.utc).isoformat(timespec="seconds"),
    }
