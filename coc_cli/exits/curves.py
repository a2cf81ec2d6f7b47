"""Curves of score against MACs on test, and what is saved at equal score, with a paired bootstrap interval."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from coc_cli.dvfs.energy import Array, Workload
from coc_cli.exits.operating_points import OperatingPoint, outcome
from coc_cli.exits.policies import names_in
from coc_cli.exits.policies.classic import Classic
from coc_cli.exits.traces import Trace
from coc_cli.intervals import WEIGHT_RESAMPLES, middle_95, resampled_weights

ROUNDING = 1e-9


@dataclass(frozen=True)
class Curve:
    """A policy's operating points on test: score and MACs of every image, [P, N] each."""

    points: tuple[OperatingPoint, ...]
    score: Array
    macs: Array


@dataclass(frozen=True)
class Saving:
    """Mean MACs of a policy at a score, and the fraction saved against another; NaN where the score is not reached."""

    macs: float
    fraction: float
    low: float
    high: float


def curve(points: list[OperatingPoint], trace: Trace, workload: Workload) -> Curve:
    """Run every point on a trace."""
    outcomes = [outcome(point.policy, trace, workload)[:2] for point in points]
    return Curve(tuple(points), np.stack([score for score, _ in outcomes]), np.stack([macs for _, macs in outcomes]))


def macs_at(score: Array, macs: Array, target: float) -> float:
    """Return the least MACs at which points (score [P], macs [P]) reach a score, interpolated; NaN if they do not."""
    order = np.lexsort((-score, macs))
    score, macs = score[order], macs[order]
    better = score > np.concatenate([[-np.inf], np.maximum.accumulate(score)[:-1]])
    score, macs = score[better], macs[better]
    if target > score[-1] + ROUNDING:
        return float("nan")
    return float(np.interp(target, score, macs))


def savings(curves: Mapping[str, Curve], target: float, full_score: Array) -> dict[str, dict[str, Saving]]:
    """Return, for each policy, what it saves against classic and against the best passive policy at equal score.

    `target` is a score relative to the mean of `full_score` [N], that of the final output on the same images. The best
    passive policy is chosen again in every bootstrap sample, so that the choice is part of the interval.
    """
    weights = np.concatenate([np.full((1, len(full_score)), 1 / len(full_score)), resampled_weights(len(full_score))])
    goal = weights @ full_score + target  # [B]
    cost: dict[str, Array] = {}
    for name, outcomes in curves.items():
        scores, macs = weights @ outcomes.score.T, weights @ outcomes.macs.T  # [B, P]
        rows = zip(scores, macs, goal, strict=True)
        cost[name] = np.array([macs_at(score, spent, least_score) for score, spent, least_score in rows])
    passive = np.stack([cost[name] for name in names_in("passive") if name in cost])
    without = cost[Classic.name]
    against = {"classic": without, "passive": np.nanmin(np.where(np.isnan(passive), np.inf, passive), 0)}
    against["passive"] = np.where(np.isinf(against["passive"]), without, against["passive"])
    return {name: {other: _saving(mine, theirs) for other, theirs in against.items()} for name, mine in cost.items()}


def _saving(mine: Array, theirs: Array) -> Saving:
    fraction = 1 - mine / theirs
    sampled = fraction[1:][~np.isnan(fraction[1:])]
    if np.isnan(fraction[0]) or len(sampled) < WEIGHT_RESAMPLES // 2:
        return Saving(float(mine[0]), float("nan"), float("nan"), float("nan"))
    low, high = middle_95(sampled)
    return Saving(float(mine[0]), float(fraction[0]), low, high)
