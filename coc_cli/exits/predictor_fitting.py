"""Fitting the predictor on a trace, with torch; on images that the network did not train on."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F

from coc_cli.dvfs.energy import Array, Workload
from coc_cli.exits.policies.context import PREDICTED_THRESHOLDS, PolicyContext
from coc_cli.exits.predictor import Predictor, feature_count, features, hidden_for
from coc_cli.exits.traces import Trace, first_confident

FOLDS = 5
LARGEST_SAMPLE = 200_000  # questions: an image, an exit, a threshold
STEPS = 3000
BATCH = 512
LEARNING_RATE = 2e-2
WEIGHT_DECAY = 1e-2


@dataclass(frozen=True)
class Samples:
    """Inputs that stand at an exit and go on: what is known of them, and where they leave."""

    x: Array  # [Q, F]
    at: Array  # [Q]
    left_at: Array  # [Q], E for the final output
    image: Array  # [Q]


def samples_of(trace: Trace, measure: str, thresholds: Sequence[float], seed: int) -> Samples:
    """Return, for each threshold and each exit, those inputs of a trace that have not left by then.

    Half of them are given as if they came from an exit further back, as they do once exits are skipped.
    """
    random = np.random.default_rng(seed)
    x, ats, left_at, images = [], [], [], []
    confidence = trace.confidence(measure)
    fraction = min(1.0, LARGEST_SAMPLE / max(1, len(thresholds) * trace.exits * len(trace)))
    for threshold in thresholds:
        for at in range(trace.exits):
            rows = np.flatnonzero(confidence[at] < threshold)
            rows = rows[random.random(len(rows)) < fraction]
            back = random.integers(-1, at, len(rows)) if at else np.full(len(rows), -1)
            before = np.where(random.random(len(rows)) < 0.5, back, at - 1)  # noqa: PLR2004
            x.append(features(trace, at, rows, before, threshold, measure))
            ats.append(np.full(len(rows), at))
            left_at.append(first_confident(trace, measure, threshold, after=at)[rows])
            images.append(rows)
    return Samples(np.concatenate(x), np.concatenate(ats), np.concatenate(left_at), np.concatenate(images))


def fit(
    trace: Trace, measure: str, thresholds: Sequence[float], macs: float, *, seed: int, held_out: Array | None = None
) -> Predictor:
    """Fit on a trace and calibrate on the images `held` of it (a fifth, by the seed, if not given).

    `macs` are those of the full path; a thousandth of them is what a prediction may cost.
    """
    random = np.random.default_rng(seed)
    if held_out is None:
        held_out = random.permutation(len(trace))[: len(trace) // FOLDS]
    samples = samples_of(trace, measure, thresholds, seed)
    is_held = np.isin(samples.image, held_out)
    hidden = hidden_for(macs, feature_count(trace), trace.exits)
    with one_thread():
        predictor = _trained(samples, ~is_held, measure, hidden, trace.exits, seed)
    return _calibrated(predictor, samples, is_held)


@contextmanager
def one_thread() -> Iterator[None]:
    """Let torch work in one thread: steps are too small to share, and two take more than twice as long."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def cross_fitted(
    trace: Trace, measure: str, thresholds: Sequence[float], macs: float, seed: int
) -> list[tuple[Predictor, Array]]:
    """Return, for each fold, a predictor that has not seen it, and the images of the fold."""
    order = np.random.default_rng(seed).permutation(len(trace))
    fitted = []
    for fold in range(FOLDS):
        out = order[fold::FOLDS]
        rest = np.setdiff1d(order, out)
        held_out = np.flatnonzero(np.isin(rest, order[(fold + 1) % FOLDS :: FOLDS]))
        fitted.append(
            (fit(trace.rows(rest), measure, thresholds, macs, seed=seed + fold, held_out=held_out), np.sort(out))
        )
    return fitted


def _trained(samples: Samples, used: Array, measure: str, hidden: int, exits: int, seed: int) -> Predictor:
    x, at, left_at = samples.x[used], samples.at[used], samples.left_at[used]
    mean, spread = x.mean(0), x.std(0) + 1e-6
    generator = torch.Generator().manual_seed(seed)
    w = (torch.randn(x.shape[1], hidden, generator=generator) / x.shape[1] ** 0.5).requires_grad_()
    b = torch.zeros(exits, hidden).requires_grad_()
    v = (torch.randn(hidden, exits, generator=generator) * 0.1).requires_grad_()
    c = torch.from_numpy(_base_rates(at, left_at, exits)).float().requires_grad_()
    inputs = torch.from_numpy((x - mean) / spread).float()
    where, goal = torch.from_numpy(at), torch.from_numpy(left_at)
    one_hot_at = F.one_hot(where, exits).float()  # to look up rows of b and c by a product, whose gradient is fast
    index = torch.arange(exits)
    groups: list[dict[str, Any]] = [{"params": [w, v], "weight_decay": WEIGHT_DECAY}, {"params": [b, c]}]
    optimizer = torch.optim.AdamW(groups, LEARNING_RATE)
    steps = STEPS if hidden else 0
    for step in range(steps):
        for group in optimizer.param_groups:
            group["lr"] = LEARNING_RATE * 0.5 * (1 + np.cos(np.pi * step / steps))
        rows = torch.randint(0, len(inputs), (BATCH,), generator=generator)
        here = one_hot_at[rows]
        logits = torch.relu(inputs[rows] @ w + here @ b) @ v + here @ c
        # An input that leaves at j did not leave between where it was asked and j, and did at j.
        asks = (index > where[rows, None]) & (index <= goal[rows, None])
        left = (index == goal[rows, None]).float()
        loss = F.binary_cross_entropy_with_logits(logits, left, asks.float(), reduction="sum") / BATCH
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    tensors = [tensor.detach().double().numpy() for tensor in (w, b, v, c)]
    return Predictor(measure, mean, spread, *tensors)


def _base_rates(at: Array, left_at: Array, exits: int) -> Array:
    """Return the logit of each exit's hazard, by the exit where it is asked; [E, E]."""
    table = np.zeros((exits, exits))
    for here in range(exits):
        gone = left_at[at == here]
        for there in range(here + 1, exits):
            reach, leave = (gone >= there).sum(), (gone == there).sum()
            table[here, there] = np.log((leave + 0.5) / (reach - leave + 0.5))
    return table


def _calibrated(predictor: Predictor, samples: Samples, used: Array) -> Predictor:
    """Shift the hazards at each exit so that, on images not fitted on, as many leave at each exit as predicted."""
    c = predictor.c.copy()
    exits = len(c)
    for here in range(exits):
        rows = np.flatnonzero(used & (samples.at == here))
        if not len(rows):
            continue
        hazard, gone = predictor.hazards(samples.x[rows], here), samples.left_at[rows]
        for there in range(here + 1, exits):
            reach = gone >= there
            # As many pseudo-inputs as one that leave as predicted keep the shift small where few are seen.
            predicted = hazard[reach, there].sum() + 1.0
            left = (gone[reach] == there).sum() + 1.0
            stay_predicted, stayed = reach.sum() + 2.0 - predicted, reach.sum() + 2.0 - left
            c[here, there] += np.log(left / stayed) - np.log(predicted / stay_predicted)
    return replace(predictor, c=c)


def fitted_context(trace: Trace, workload: Workload, measures: tuple[str, ...], seed: int) -> PolicyContext:
    """Fit the predictors: one for each fold of validation that has not seen it, and the one that is kept."""
    context = PolicyContext(trace, workload, measures, seed)
    full, measure = workload.full_macs, context.measure
    thresholds = context.thresholds(PREDICTED_THRESHOLDS, measure)
    folds = cross_fitted(trace, measure, thresholds, full, seed)
    return replace(context, folds=folds, predictor=fit(trace, measure, thresholds, full, seed=seed))
