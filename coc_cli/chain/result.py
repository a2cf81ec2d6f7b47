"""The measurements of a run as in report.json: an entry per stage, factors between them, limits met or missed."""

from __future__ import annotations

import os
import platform
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime, timezone
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np
import torch

from coc_cli.chain.plan import Step
from coc_cli.learning.uselessness import uselessness
from coc_cli.nets.cost import Cost, cost
from coc_cli.nets.spec import Spec
from coc_cli.profiling.machine import processor_name
from coc_cli.recipe.limits import LIMITS
from coc_cli.recipe.model import Limits
from coc_cli.report.schema.part import as_data
from coc_cli.report.schema.run import (
    Details,
    Environment,
    Factor,
    LatencyEntry,
    LayerEntry,
    LimitEntry,
    StageEntry,
    StageResult,
)
from coc_cli.version import __version__

if TYPE_CHECKING:
    from coc_cli.learning.tasks import Task


ACCURACY = "accuracy"  # the metric whose scores are right or wrong


@dataclass(frozen=True)
class MeasuredStage:
    """A step of the plan with its result, mean cost and the size of its checkpoint."""

    step: Step
    result: StageResult
    cost: Cost
    checkpoint_bytes: int


def measured(step: Step, result: StageResult, spec: Spec, checkpoint_bytes: int) -> MeasuredStage:
    """Return a stage with its mean cost at the exit rates on test."""
    return MeasuredStage(step, result, cost(spec).leaving([exit_.share for exit_ in result.exits]), checkpoint_bytes)


def packed(task: Task, scores: tuple[float, ...]) -> str | list[float]:
    """Return the images' scores for a file: numbers to six digits, or a bit each if correct, the highest bit first.

    Of an error its size is kept, so that numbers have the metric's sign.
    """
    if task.metric != ACCURACY:
        return [float(f"{task.sign * score:.6g}") for score in scores]
    return np.packbits(np.array(scores, dtype=bool)).tobytes().hex()


def entries(
    stages: Sequence[MeasuredStage], latencies: tuple[LatencyEntry | None, LatencyEntry | None] = (None, None)
) -> list[StageEntry]:
    """Return the stages' entries in report.json, compared with the first, the baseline.

    Args:
        stages: All of them.
        latencies: The first one's and the last one's, if they were measured.
    """
    found = [_entry(stage, stages[0]) for stage in stages]
    for place, latency in zip((0, -1), latencies, strict=True):
        found[place] = found[place].model_copy(update={"latency_ms": latency})
    return found


def _entry(stage: MeasuredStage, baseline: MeasuredStage) -> StageEntry:
    result, cost_ = stage.result, stage.cost
    return StageEntry(
        index=stage.step.index,
        name=stage.step.name,
        metric_value=result.metric_value,
        metric_ci95=result.metric_ci95,
        n_test=result.n_test,
        macs=cost_.macs,
        bitops=cost_.bitops,
        params=cost_.params,
        checkpoint_bytes=stage.checkpoint_bytes,
        latency_ms=None,
        exits=result.exits if len(result.exits) > 1 else [],
        seconds=result.seconds,
        validation_value=result.validation_value,
        **as_data(result.details),
        environment=result.environment,
        arithmetic=result.arithmetic,
        layers=[LayerEntry(**asdict(layer), bitops=layer.bitops) for layer in cost_.layers],
        bitops_ratio=baseline.cost.bitops / cost_.bitops,
        bitops_ratio_nominal=cost_.nominal_ratio(baseline.cost),
        bytes_ratio=baseline.checkpoint_bytes / stage.checkpoint_bytes,
    )


def useless(task: Task, figures: StageResult | StageEntry, details: Details) -> Iterator[str]:
    """Yield why the network of a stage is of no use."""
    trivial, spread = details.trivial_value, details.answer_spread
    value, ci95, n = figures.metric_value, figures.metric_ci95, figures.n_test
    yield from uselessness(task, value, ci95, n, trivial_value=trivial, answer_spread=spread)


def useless_stages(task: Task, stages: Sequence[StageEntry]) -> list[str]:
    """Return what is to be said of all stages of a run."""
    return [f"stage {one.index} {one.name}: {what}" for one in stages for what in useless(task, one, one)]


def factors(stages: Sequence[StageEntry]) -> list[Factor]:
    """Return the factor that each stage behind the baseline contributes to the ratio of BitOps."""
    return [
        Factor(index=now.index, name=now.name, ratio=before.bitops / now.bitops) for before, now in pairwise(stages)
    ]


def judged(limits: Limits, stages: Sequence[StageEntry], sign: int) -> list[LimitEntry]:
    """Return the limits, met, missed or not decided; `sign` is 1 if a larger metric is better, else -1."""
    judged_limits = []
    is_busy = stages[-1].latency_ms is not None and stages[-1].latency_ms.busy
    for name, limit in limits.active.items():
        value = LIMITS[name].value(stages[0], stages[-1], sign)
        decided = not (LIMITS[name].is_timed and is_busy)
        ok = decided and LIMITS[name].is_met(limit, value)
        judged_limits.append(LimitEntry(name=name, limit=limit, value=value, ok=ok, decided=decided))
    return judged_limits


def environment(device: str) -> Environment:
    """Return the versions and the hardware of a run."""
    return Environment(
        coc=__version__,
        python=platform.python_version(),
        torch=torch.__version__,
        platform=platform.platform(),
        processor=processor_name(),
        cores=os.cpu_count(),
        threads=torch.get_num_threads(),
        device=torch.cuda.get_device_name(device) if device.startswith("cuda") else "cpu",
        date=datetime.now(timezone.utc).isoformat(timespec="seconds"),
    )
