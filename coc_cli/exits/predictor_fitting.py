"""Fitting the predictor on a trace, with torch; on images that the network did not train on."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F

from coc_cli.dvfs.energy import Array
from coc_cli.exits.policies.context import FOLDS, PREDICTED_THRESHOLDS, Fitted, PolicyContext
from coc_cli.exits.predictor import Predictor, feature_count, features, hidden_for
from coc_cli.exits.traces import Measure, Shifted, Trace, first_confident

LARGEST_SAMPLE = 60_000  # questions: an image, an exit, a threshold
STEPS = 1000
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


def samples_of(trace: Trace, measure: Measure, thresholds: Sequence[float], seed: int) -> Samples:
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


@contextmanager
def one_thread() -> Iterator[None]:
    """Let torch work in one thread: steps are too small to share, and two take more than twice as long."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def fitted(context: PolicyContext, measures: Sequence[Measure]) -> dict[Measure, Fitted]:
    """Fit predictors for each measure: one on all of validation, and one on all but each fold.

    A thousandth of the MACs of the full path is what a prediction may cost. All are trained side by side; each is
    calibrated on a fifth of its images, which it is not trained on.
    """
    trace, random = context.trace, np.random.default_rng(context.seed)
    hidden = hidden_for(context.workload.full_macs, feature_count(trace), trace.exits)
    every = np.arange(len(trace))
    tasks: list[_Task] = []
    for measure in measures:
        refitted = context.refitted[measure] if isinstance(measure, Shifted) else (measure,) * FOLDS
        seen = [(every, trace), *zip(context.rest_rows, context.rests, strict=True)]
        held = [random.permutation(every)[: len(every) // FOLDS]]
        held += [context.folds[(fold + 1) % FOLDS] for fold in range(FOLDS)]
        for one, (rows, part), held_out in zip((measure, *refitted), seen, held, strict=True):
            thresholds = context.thresholds(PREDICTED_THRESHOLDS, one)
            samples = samples_of(part, one, thresholds, context.seed + len(tasks))
            tasks.append(_Task(one, samples, np.isin(rows[samples.image], held_out)))
    with one_thread():
        trained = _trained(tasks, hidden, trace.exits, context.seed)
    made = [_calibrated(one, task.samples, task.held) for one, task in zip(trained, tasks, strict=True)]
    size = FOLDS + 1
    return {
        measure: Fitted(made[place * size], tuple(made[place * size + 1 : (place + 1) * size]))
        for place, measure in enumerate(measures)
    }


@dataclass(frozen=True)
class _Task:
    """What a predictor is fitted on."""

    measure: Measure
    samples: Samples
    held: Array  # bool [Q]: kept for calibration


def _trained(tasks: Sequence[_Task], hidden: int, exits: int, seed: int) -> list[Predictor]:
    """Train M predictors in one loop, as each is too small to fill a processor."""
    xs, ats, gone = ([getattr(task.samples, key)[~task.held] for task in tasks] for key in ("x", "at", "left_at"))
    means, spreads = [x.mean(0) for x in xs], [x.std(0) + 1e-6 for x in xs]
    normal = [(x - mean) / spread for x, mean, spread in zip(xs, means, spreads, strict=True)]
    inputs = torch.from_numpy(np.concatenate(normal)).float()
    where, goal = torch.from_numpy(np.concatenate(ats)), torch.from_numpy(np.concatenate(gone))
    sizes = torch.tensor([len(x) for x in xs])
    begins = (sizes.cumsum(0) - sizes)[:, None]
    generator, m, f = torch.Generator().manual_seed(seed), len(tasks), inputs.shape[1]
    w = (torch.randn(f, hidden, generator=generator) / f**0.5).repeat(m, 1, 1).requires_grad_()
    b = torch.zeros(m, exits, hidden).requires_grad_()
    v = (torch.randn(hidden, exits, generator=generator) * 0.1).repeat(m, 1, 1).requires_grad_()
    rates = np.stack([_base_rates(at, left_at, exits) for at, left_at in zip(ats, gone, strict=True)])
    c = torch.from_numpy(rates).float().requires_grad_()
    index, one_hot = torch.arange(exits), torch.eye(exits)
    groups: list[dict[str, Any]] = [{"params": [w, v], "weight_decay": WEIGHT_DECAY}, {"params": [b, c]}]
    optimizer = torch.optim.AdamW(groups, LEARNING_RATE, fused=True)
    steps = STEPS if hidden else 0
    for step in range(steps):
        for group in optimizer.param_groups:
            group["lr"] = LEARNING_RATE * 0.5 * (1 + np.cos(np.pi * step / steps))
        rows = (torch.rand(m, BATCH, generator=generator) * sizes[:, None]).long() + begins  # [M, B]
        here = one_hot[where[rows]]  # to look up rows of b and c by a product, whose gradient is fast
        logits = torch.relu(inputs[rows] @ w + here @ b) @ v + here @ c
        # An input that leaves at j did not leave between where it was asked and j, and did at j.
        asks = (index > where[rows, None]) & (index <= goal[rows, None])
        left = (index == goal[rows, None]).float()
        loss = F.binary_cross_entropy_with_logits(logits, left, asks.float(), reduction="sum") / BATCH
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    tensors = [tensor.detach().double().numpy() for tensor in (w, b, v, c)]
    return [
        Predictor(task.measure, means[place], spreads[place], *(tensor[place] for tensor in tensors))
        for place, task in enumerate(tasks)
    ]


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
