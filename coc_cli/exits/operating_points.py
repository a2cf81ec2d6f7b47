"""Operating points: each policy's parameters, chosen on validation, at least eight where it has so many."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from coc_cli.dvfs.energy import Array, Workload
from coc_cli.exits.policies import POLICIES
from coc_cli.exits.policies.context import GRID, PolicyContext
from coc_cli.exits.policies.policy import LearnedPolicy, Paths, Policy, ThresholdedPolicy, joined, walk
from coc_cli.exits.traces import Shifted, Trace

MOST_POINTS, FEWEST_POINTS = 16, 8
CURVE_STEPS, PREDICTED_STEPS = 24, 8  # of the grid, tried of each form for a curve
EQUAL = 1e-12
# How predict-exit.json names parameters: its keys stay, whatever the code calls them.
KEYS = {"threshold": "least", "prediction_cost": "asking", "probability": "chance"}


@dataclass(frozen=True)
class OperatingPoint:
    """A policy with its parameters fixed, and what that gave on validation."""

    policy: Policy
    score: float  # mean, larger is better
    macs: float  # mean

    def reaches(self, least_score: float) -> bool:
        """Return whether it scores as asked for."""
        return self.score >= least_score - EQUAL


def outcome(policy: Policy, trace: Trace, workload: Workload) -> tuple[Array, Array, Paths]:
    """Return score [N] and MACs [N] of every image, and the paths."""
    paths = walk(policy, trace)
    score = trace.score[paths.exit, np.arange(len(trace))]
    return score, paths.macs(workload.stretch_macs, policy.prediction_macs), paths


def by_fold(policy: Policy, context: PolicyContext) -> list[tuple[Policy, Trace]]:
    """Return a policy with the images of validation that it may answer: those that nothing in it was fitted on."""
    measure = getattr(policy, "measure", None)
    if isinstance(policy, LearnedPolicy):
        parts = [policy.with_predictor(predictor) for predictor in context.fitted[policy.measure].folds]
    elif isinstance(policy, ThresholdedPolicy) and isinstance(measure, Shifted):
        parts = [replace(policy, measure=one) for one in context.refitted[measure]]
    else:
        return [(policy, context.trace)]
    return list(zip(parts, context.parts, strict=True))


def on_validation(policy: Policy, context: PolicyContext) -> OperatingPoint:
    """Evaluate a policy on validation."""
    parts = [outcome(part, trace, context.workload) for part, trace in by_fold(policy, context)]
    score, macs = (np.concatenate([part[index] for part in parts]) for index in (0, 1))
    return OperatingPoint(policy, float(score.mean()), float(macs.mean()))


def validation_paths(policy: Policy, context: PolicyContext) -> Paths:
    """Return the paths of validation images under a policy, one fold after the other."""
    return joined([walk(part, trace) for part, trace in by_fold(policy, context)])


def operating_points(name: str, context: PolicyContext) -> list[OperatingPoint]:
    """Return a policy's points, cheapest first: those that no other beats on validation, thinned to a spread few.

    Where fewer than eight are unbeaten the best of the others fill up.
    """
    kind = POLICIES[name]
    steps = np.linspace(0, GRID - 1, PREDICTED_STEPS if kind.predicts else CURVE_STEPS).astype(int).tolist()
    shapes = list(kind.shapes(context))
    tried = [shape.at_step(step, context) for shape in shapes for step in (steps if kind.is_tuned else steps[:1])]
    points = [on_validation(policy, context) for policy in tried]
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


def applicable(context: PolicyContext) -> list[str]:
    """Return the names of the policies that a network can have: with its outputs, and so many exits."""
    fitting = [name for name, policy in POLICIES.items() if context.trace.is_classes or not policy.needs_classes]
    return [name for name in fitting if any(True for _ in POLICIES[name].shapes(context))]


def reaching(shape: Policy, least_score: float, context: PolicyContext) -> OperatingPoint:
    """Return a form at the lowest step of the grid that reaches a score on validation, by bisection; or the highest."""
    low, high = 0, GRID - 1
    best = on_validation(shape.at_step(high, context), context)
    while shape.is_tuned and low < high:
        middle = (low + high) // 2
        point = on_validation(shape.at_step(middle, context), context)
        if point.reaches(least_score):
            high, best = middle, point
        else:
            low = middle + 1
    return best


def good(points: Sequence[OperatingPoint], least_score: float) -> list[OperatingPoint]:
    """Return those that reach a score on validation; where none does, the one that comes closest."""
    found = [point for point in points if point.reaches(least_score)]
    return found or [max(points, key=lambda point: point.score)]


def parameters(policy: Policy) -> dict[str, Any]:
    """Return a policy's parameters as they are reported."""
    plain = {name: value for name, value in vars(policy).items() if isinstance(value, int | float | str)}
    values: dict[str, Any] = {KEYS.get(name, name): value for name, value in plain.items()}
    exits = getattr(policy, "exits", None)
    measure = getattr(policy, "measure", None)
    if isinstance(measure, Shifted):
        about = {"measure": measure.base, "thresholds": measure.reported(), "last_exit": measure.last}
        values, exits = {**values, **about}, measure.kept
    return values | ({"exits": list(exits)} if exits is not None else {})
