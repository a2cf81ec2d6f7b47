"""Whether a stage's figures follow from what they were made of, before they are used again."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

from coc_cli.learning.tasks import task_of
from coc_cli.nets.spec import Spec
from coc_cli.report.schema.run import StageResult

ROUNDED = 1e-5  # errors are kept to six digits


def follows(result: StageResult, spec: Spec, n: int) -> bool:
    """Return whether metric, interval, number of images and exit rates of a result follow from its packed scores.

    Args:
        result: As a file has it.
        spec: Of the network that it is of.
        n: The number of test images.
    """
    task = task_of(spec)
    scores = _scores(result.scores, n, task.sign)
    if scores is None or result.n_test != n or len(result.exits) != len(spec.exits) + 1:
        return False
    figures = (result.metric_value, *result.metric_ci95)
    if not all(
        _alike(one, other) for one, other in zip(figures, (task.value(scores), *task.interval(scores)), strict=True)
    ):
        return False
    counts = [exit_.share * n for exit_ in result.exits]
    if not all(_alike(count, round(count)) for count in counts) or round(sum(counts)) != n:
        return False
    values = [exit_.metric_value or 0.0 for exit_ in result.exits]
    mean = sum(count * value for count, value in zip(counts, values, strict=True)) / n
    return _alike(mean, result.metric_value)


def _alike(one: float, other: float) -> bool:
    return math.isclose(one, other, rel_tol=ROUNDED, abs_tol=ROUNDED)


def _scores(packed: str | list[float], n: int, sign: int) -> Tensor | None:
    """Return the scores of n images, larger is better; None if there are not so many."""
    if isinstance(packed, list):
        return sign * torch.tensor(packed, dtype=torch.float64) if len(packed) == n else None
    bits = np.unpackbits(np.frombuffer(bytes.fromhex(packed), np.uint8))
    return torch.from_numpy(bits[:n].astype(np.float64)) if 0 <= len(bits) - n < 8 else None  # noqa: PLR2004  (a byte)
