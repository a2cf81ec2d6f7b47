"""Operating points: each policy's parameters, chosen on validation, at least eight where it has so many."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from coc_cli.dvfs.energy import Array, Workload
from coc_cli.exits.policies import POLICIES
from coc_cli.exits.policies.context import PolicyContext
from coc_cli.exits.policies.policy import Paths, Policy, ThresholdedPolicy, joined, walk
from coc_cli.exits.traces import Trace

TUNED_THRESHOLDS = 240
NEAREST = 24  # of them, around one that was chosen
MOST_POINTS, FEWEST_POINTS = 16, 8
# How predict-exit.json names parameters: its keys stay, whatever the code calls them.
KEYS = {"threshold": "least", "prediction_cost": "asking", "probability": "chance"}


@dataclass(frozen=True)
class OperatingPoint:
    """A policy with its parameters fixed, and what that gave on validation."""

    policy: Policy
    score: float  # mean, larger is better
    macs: float  # mean


def outcome(policy: Policy, trace: Trace, workload: Workload) -> tuple[Array, Array, Paths]:
    """Return score [N] and MACs [N] of every image, and the paths."""
    paths = walk(policy, trace)
    score = trace.score[paths.exit, np.arange(len(trace))]
    return score, paths.macs(workload.stretch_macs, policy.prediction_macs), paths


def _by_fold(policy: Policy, context: PolicyContext) -> list[tuple[Policy, Trace]]:
    """Return a policy with the images of validation that it may answer: a predictor, those that it has not seen."""
    if not policy.needs_predictor:
        return [(policy, context.trace)]
    return [(policy.with_predictor(predictor), trace) for predictor, trace in context.unseen]


def on_validation(policy: Policy, context: PolicyContext) -> OperatingPoint:
    """Evaluate a policy on validation."""
    parts = [outcome(part, trace, context.workload) for part, trace in _by_fold(policy, context)]
    score, macs = (np.concatenate([part[index] for part in parts]) for index in (0, 1))
    return OperatingPoint(policy, float(score.mean()), float(macs.mean()))


def validation_paths(policy: Policy, context: PolicyContext) -> Paths:
    """Return the paths of validation images under a policy, one fold after the other."""
    return joined([walk(part, trace) for part, trace in _by_fold(policy, context)])


def operating_points(name: str, context: PolicyContext) -> list[OperatingPoint]:
    """Return a policy's points, cheapest first: those that no other beats on validation, thinned to a spread few.

    Where fewer than eight are unbeaten the best of the others fill up.
    """
    points = [on_validation(policy, context) for policy in POLICIES[name].candidates(context)]
    points.sort(key=lambda point: (point.macs, -point.score))
    front: list[OperatingPoint] = []
    for point in points:
        if not front or point.score > front[-1].score:
            front.append(point)
    if len(front) > MOST_POINTS:
        spread = np.unique(np.linspace(0, len(front) - 1, MOST_POINTS).round().astype(int))
        front = [front[index] for index in spread]
    others = sorted((p for p in points if all(p is not kept for kept in front)), key=lambda p: -p.score)
    front += others[: max(0, FEWEST_POINTS - len(front))]
    return sorted(front, key=lambda p: p.macs)


def applicable(*, classes: bool) -> list[str]:
    """Return the names of the policies that can be used, with outputs that are classes or numbers."""
    return [name for name, policy in POLICIES.items() if classes or not policy.needs_classes]


def chosen(
    points: Sequence[OperatingPoint], least_score: float, price: Callable[[OperatingPoint], float]
) -> OperatingPoint:
    """Return the point of least price among those that reach a score on validation; the best one if none does."""
    good = [point for point in points if point.score >= least_score - 1e-12]
    return min(good, key=price) if good else max(points, key=lambda point: point.score)


def tuned(point: OperatingPoint, context: PolicyContext) -> list[OperatingPoint]:
    """Return points like one with thresholds around its own; none for a policy without a threshold."""
    policy = point.policy
    if not isinstance(policy, ThresholdedPolicy):
        return []
    values = context.thresholds(TUNED_THRESHOLDS, policy.measure)
    near = np.argsort(np.abs(np.array(values) - policy.threshold))[:NEAREST]
    return [on_validation(replace(policy, threshold=values[index]), context) for index in near]


def reaching(policy: ThresholdedPolicy, least_score: float, context: PolicyContext) -> OperatingPoint:
    """Return a policy with the lowest threshold that reaches a score on validation, by bisection; else the highest."""
    values = context.thresholds(TUNED_THRESHOLDS, policy.measure)
    low, high, best = 0, len(values) - 1, on_validation(replace(policy, threshold=values[-1]), context)
    while low < high:
        middle = (low + high) // 2
        point = on_validation(replace(policy, threshold=values[middle]), context)
        if point.score >= least_score - 1e-12:
            high, best = middle, point
        else:
            low = middle + 1
    return best


def parameters(policy: Policy) -> dict[str, Any]:
    """Return a policy's parameters as they are reported."""
    values = {KEYS.get(name, name): v for name, v in vars(policy).items() if isinstance(v, int | float | str)}
    exits = getattr(policy, "exits", None)
    return values | ({"exits": list(exits)} if exits is not None else {})
