"""The predictor: from what is known at a visited exit, the probability of each later exit to be where an input leaves.

A small network of one hidden layer gives, for every exit behind, the hazard: the probability to leave there of an input
that has not left before (discrete-time survival, Cox 1972). It sees sorted probabilities, never which class they belong
to, so it gives the same answer under any permutation of the classes. Inference is numpy only.
"""

from __future__ import annotations

import json
from dataclasses import dataclass

import numpy as np

from coc_cli.dvfs.energy import Array
from coc_cli.exits.traces import Measure, Shifted, Trace, logit, stretched

LARGEST_PROBABILITIES = 3
FURTHEST = 20.0  # from 0 that a feature lies
LARGEST_HIDDEN = 64
MACS_FRACTION = 1e-3  # of the full path: what one prediction may cost


def features(trace: Trace, at: int, rows: Array, before: Array, threshold: float, measure: Measure) -> Array:
    """Return what a device knows of the inputs `rows` [n] at exit `at`, having come from exits `before`; [n, F].

    How far the exit is from being confident enough, now and at the exit before; of classes also the logits of the
    largest probabilities, their margin and the entropy; and what is known of the features that its head pooled.
    """
    confidence = trace.confidence(measure)
    came = np.maximum(before, 0)
    here, earlier, least = (
        np.clip(stretched(value, measure), -FURTHEST, FURTHEST)
        for value in (confidence[at, rows], confidence[came, rows], np.full(len(rows), threshold))
    )
    earlier = np.where(before >= 0, earlier, here)
    columns = [here, least, here - earlier, here - least]
    if trace.is_classes:
        probabilities = trace.probabilities[at, rows, :LARGEST_PROBABILITIES]
        columns += list(logit(probabilities).T)
        columns += [probabilities[:, 0] - probabilities[:, 1], trace.entropy[at, rows]]
        columns.append((trace.answer[at, rows] == trace.answer[came, rows]).astype(np.float64))
    if trace.pooled is not None:
        columns += list(trace.pooled[at, rows].T)
    result: Array = np.clip(np.stack(columns, 1), -FURTHEST, FURTHEST)
    return result


def feature_count(trace: Trace) -> int:
    """Return F."""
    of_classes = min(LARGEST_PROBABILITIES, trace.outputs[0].shape[1]) + 3 if trace.is_classes else 0
    return 4 + of_classes + (0 if trace.pooled is None else trace.pooled.shape[2])


@dataclass(frozen=True)
class Predictor:
    """Its tensors: hazards = sigmoid(relu(x W + b[at]) V + c[at]), x the features less mean over spread."""

    measure: Measure
    mean: Array  # [F]
    spread: Array  # [F]
    w: Array  # [F, H]
    b: Array  # [E, H]
    v: Array  # [H, E]
    c: Array  # [E, E], by exit where it is asked and exit predicted

    @property
    def macs(self) -> float:
        """What one prediction costs."""
        return float(self.w.size + self.v.size)

    def hazards(self, x: Array, at: int) -> Array:
        """Return, for features [n, F] at exit `at`, the probability to leave at each exit once reached; [n, E]."""
        hidden = np.maximum((x - self.mean) / self.spread @ self.w + self.b[at], 0.0)
        logits = np.clip(hidden @ self.v + self.c[at], -30, 30)
        hazard: Array = 1 / (1 + np.exp(-logits))
        hazard[:, : at + 1] = 0.0
        return hazard

    def probabilities(self, trace: Trace, at: int, rows: Array, before: Array, threshold: float) -> Array:
        """Return the probabilities that the inputs `rows` leave at each exit, the final one last; [n, E + 1]."""
        x = features(trace, at, rows, before, threshold, self.measure)
        return distribution(self.hazards(x, at))

    def encoded(self) -> bytes:
        """Return the predictor as a safetensors file."""
        from safetensors.numpy import save

        tensors = {name: np.ascontiguousarray(getattr(self, name), np.float32) for name in TENSORS}
        measure = self.measure
        about = {"measure": measure} if isinstance(measure, str) else {"measure": measure.base, **_thresholds(measure)}
        return bytes(save(tensors, about))


def _thresholds(measure: Shifted) -> dict[str, str]:
    return {"exits": json.dumps(measure.kept), "thresholds": json.dumps(measure.reported())}


TENSORS = ("mean", "spread", "w", "b", "v", "c")


def distribution(hazards: Array) -> Array:
    """Return probabilities [n, E + 1] from hazards [n, E]; who leaves at no inner exit leaves at the final one."""
    survives = np.cumprod(1 - hazards, 1)
    before = np.concatenate([np.ones((len(hazards), 1)), survives], 1)
    return np.concatenate([before[:, :-1] * hazards, survives[:, -1:]], 1)


def hidden_for(macs: float, count: int, exits: int) -> int:
    """Return the width of the hidden layer that the budget allows; 0 leaves a table of base rates by exit."""
    return int(min(LARGEST_HIDDEN, max(0.0, macs * MACS_FRACTION // (count + exits))))


def calibration_error(probabilities: Array, left_at: Array, bins: int = 10) -> float:
    """Return the expected calibration error of "has left by exit j", mean over j.

    `probabilities` [n, E + 1] are those predicted, `left_at` [n] the exits at which inputs left; 0 of no inputs.
    """
    if not len(left_at):
        return 0.0
    by = np.cumsum(probabilities, 1)[:, :-1]
    true = left_at[:, None] <= np.arange(by.shape[1])
    errors = []
    for index in range(by.shape[1]):
        place = np.minimum((by[:, index] * bins).astype(int), bins - 1)
        gaps = [
            (place == bin_).sum() * abs(by[place == bin_, index].mean() - true[place == bin_, index].mean())
            for bin_ in np.unique(place)
        ]
        errors.append(sum(gaps) / len(by))
    return float(np.mean(errors)) if errors else 0.0
