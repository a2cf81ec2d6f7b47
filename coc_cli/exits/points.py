"""Operating points: each policy's parameters, chosen on validation, at least eight where it has so many."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np

from coc_cli.dvfs.energy import Workload
from coc_cli.exits import policies
from coc_cli.exits.fitting import cross_fitted, fit
from coc_cli.exits.policies import Foretelling, Paths, Policy, joined, walk
from coc_cli.exits.predictor import Predictor
from coc_cli.exits.traces import Array, Trace

THRESHOLDS = 24
PREDICTED_THRESHOLDS = 12
TUNED_THRESHOLDS = 240
NEAREST = 24  # of them, around one that was chosen
MOST_POINTS = 16
BETAS = 12
REACHES = (3, 5, 8)
START_SHARES = (0.1, 0.2, 0.35, 0.5, 0.65)  # of the exits
CHANCES = (0.5, 0.65, 0.8, 0.9, 0.95)
PASSIVE = ("threshold", "hierarchical", "placement", "patience")  # what prediction is compared with


@dataclass(frozen=True)
class Point:
    """A policy with its parameters fixed, and what that gave on validation."""

    policy: Policy
    score: float  # mean, larger is better
    macs: float  # mean


@dataclass(frozen=True)
class Kit:
    """What all candidates are made from."""

    trace: Trace  # of validation
    workload: Workload
    measures: tuple[str, ...]  # the rule's own first
    seed: int
    folds: list[tuple[Predictor, Array]] = field(default_factory=list)
    predictor: Predictor | None = None  # fitted on all of validation

    @property
    def measure(self) -> str:
        return self.measures[0]

    @cached_property
    def unseen(self) -> list[tuple[Predictor, Trace]]:
        """Each fold's predictor with the images that it has not seen."""
        return [(predictor, self.trace.rows(fold)) for predictor, fold in self.folds]

    def thresholds(self, count: int, measure: str) -> list[float]:
        """Give thresholds spread over how sure exits are, from where nearly all leave to where nearly none do."""
        sure = self.trace.sureness(measure)
        values = np.unique(sure[np.isfinite(sure)])
        low, high = 0.02, 0.999
        levels = 1 - np.geomspace(1 - high, 1 - low, count)
        return sorted({float(value) for value in np.quantile(values, levels)}) if len(values) else [np.inf]

    def starts(self) -> list[int]:
        """Give the exits at which a prediction may begin."""
        exits = self.trace.exits
        return sorted({0, *(round(exits * share) for share in START_SHARES), min(6, exits - 1)} - {exits})


def prepared(trace: Trace, workload: Workload, measures: tuple[str, ...], seed: int) -> Kit:
    """Fit the predictors: one for each fold of validation that has not seen it, and the one that is kept."""
    kit = Kit(trace, workload, measures, seed)
    full = workload.full_macs
    wanted = kit.thresholds(PREDICTED_THRESHOLDS, kit.measure)
    folds = cross_fitted(trace, kit.measure, wanted, full, seed)
    return replace(kit, folds=folds, predictor=fit(trace, kit.measure, wanted, full, seed=seed))


def _classic(kit: Kit) -> Iterator[Policy]:  # noqa: ARG001
    yield policies.Classic()


def _threshold(kit: Kit) -> Iterator[Policy]:
    every = tuple(range(kit.trace.exits))
    for measure in kit.measures:
        yield from (policies.Threshold(measure, least, every) for least in kit.thresholds(THRESHOLDS, measure))


def _hierarchical(kit: Kit) -> Iterator[Policy]:
    three = policies.quarters(kit.workload.segment_macs)
    for measure in kit.measures:
        yield from (policies.Hierarchical(measure, least, three) for least in kit.thresholds(THRESHOLDS, measure))


def _placement(kit: Kit) -> Iterator[Policy]:
    segments, heads = kit.workload.segment_macs, kit.workload.head_macs
    for measure in kit.measures:
        sure = kit.trace.sureness(measure)
        for least in kit.thresholds(THRESHOLDS, measure):
            chosen = policies.placed(segments, heads, (sure < least).mean(1))
            yield policies.Placement(measure, least, chosen)


def _patience(kit: Kit) -> Iterator[Policy]:
    yield from (policies.Patience(agreeing) for agreeing in range(1, kit.trace.exits))


def _conv(kit: Kit) -> Iterator[Policy]:
    scales = policies.mean_logits(kit.trace)
    peaks = np.stack([np.abs(output).max(1) for output in kit.trace.outputs[:-1]])
    ratio = peaks / np.maximum(np.array(scales)[:-1, None], 1e-12)
    for beta in np.unique(np.quantile(ratio, np.linspace(0.05, 0.995, BETAS))):
        for start in kit.starts():
            for reach in REACHES:
                yield policies.PredictiveConv(float(beta), start, reach, scales)


def _predictive(kit: Kit) -> Iterator[Policy]:
    assert kit.predictor is not None
    for least in kit.thresholds(PREDICTED_THRESHOLDS, kit.measure):
        for start in kit.starts():
            price = kit.workload.stretch_macs, kit.predictor.macs
            yield policies.Predictive(kit.measure, least, start, kit.predictor, *price)


def _commit(kit: Kit) -> Iterator[Policy]:
    assert kit.predictor is not None
    for least in kit.thresholds(PREDICTED_THRESHOLDS, kit.measure):
        for start in kit.starts():
            for chance in CHANCES:
                yield policies.PredictiveCommit(kit.measure, least, start, kit.predictor, chance)


def _oracle(kit: Kit) -> Iterator[Policy]:
    for least in kit.thresholds(PREDICTED_THRESHOLDS, kit.measure):
        yield from (policies.Oracle(kit.measure, least, start) for start in kit.starts())


def _oracle_0(kit: Kit) -> Iterator[Policy]:
    for least in kit.thresholds(THRESHOLDS, kit.measure):
        yield policies.OracleFromStart(kit.measure, least)


CANDIDATES: dict[str, Callable[[Kit], Iterator[Policy]]] = {
    "classic": _classic,
    "threshold": _threshold,
    "hierarchical": _hierarchical,
    "placement": _placement,
    "patience": _patience,
    "predictive-conv": _conv,
    "predictive": _predictive,
    "predictive-commit": _commit,
    "oracle": _oracle,
    "oracle-0": _oracle_0,
}
NEEDS_CLASSES = ("patience", "predictive-conv")


def predictor_macs(policy: Policy) -> float:
    """Give what one prediction of a policy costs; the parameter-free engine counts its additions as nothing."""
    predictor: Predictor | None = getattr(policy, "predictor", None)
    return predictor.macs if predictor else 0.0


def outcome(policy: Policy, trace: Trace, workload: Workload) -> tuple[Array, Array, Paths]:
    """Give score [N] and MACs [N] of every image, and the paths."""
    paths = walk(policy, trace)
    score = trace.score[paths.exit, np.arange(len(trace))]
    return score, paths.macs(workload.stretch_macs, predictor_macs(policy)), paths


def _folded(policy: Policy, kit: Kit) -> list[tuple[Policy, Trace]]:
    """Give a policy with the images of validation that it may answer: a predictor, those that it has not seen."""
    if not isinstance(policy, policies.Predictive | policies.PredictiveCommit):
        return [(policy, kit.trace)]
    return [(replace(policy, predictor=predictor), trace) for predictor, trace in kit.unseen]


def on_validation(policy: Policy, kit: Kit) -> Point:
    """Try a policy on validation."""
    found = [outcome(part, trace, kit.workload) for part, trace in _folded(policy, kit)]
    score, macs = (np.concatenate([one[index] for one in found]) for index in (0, 1))
    return Point(policy, float(score.mean()), float(macs.mean()))


def validation_paths(policy: Policy, kit: Kit) -> Paths:
    """Give the paths of validation images under a policy, one fold after the other."""
    return joined([walk(part, trace) for part, trace in _folded(policy, kit)])


def operating_points(name: str, kit: Kit) -> list[Point]:
    """Give a policy's points, cheapest first: those that no other beats on validation, thinned to a spread few.

    Where fewer than eight are unbeaten the best of the others fill up.
    """
    tried = sorted((on_validation(policy, kit) for policy in CANDIDATES[name](kit)), key=lambda p: (p.macs, -p.score))
    front: list[Point] = []
    for point in tried:
        if not front or point.score > front[-1].score:
            front.append(point)
    if len(front) > MOST_POINTS:
        keep = np.unique(np.linspace(0, len(front) - 1, MOST_POINTS).round().astype(int))
        front = [front[index] for index in keep]
    others = sorted((p for p in tried if all(p is not kept for kept in front)), key=lambda p: -p.score)
    front += others[: max(0, 8 - len(front))]
    return sorted(front, key=lambda p: p.macs)


def chosen(points: Sequence[Point], least_score: float, price: Callable[[Point], float]) -> Point:
    """Give the point of least price among those that reach a score on validation; the best one if none does."""
    good = [point for point in points if point.score >= least_score - 1e-12]
    return min(good, key=price) if good else max(points, key=lambda point: point.score)


def tuned(point: Point, kit: Kit) -> list[Point]:
    """Give points like one with thresholds around its own; none for a policy without a threshold."""
    policy = point.policy
    if not isinstance(policy, policies.Threshold | Foretelling | policies.OracleFromStart):
        return []
    values = kit.thresholds(TUNED_THRESHOLDS, policy.measure)
    near = np.argsort(np.abs(np.array(values) - policy.least))[:NEAREST]
    return [on_validation(replace(policy, least=values[index]), kit) for index in near]


def reaching(policy: Foretelling, least_score: float, kit: Kit) -> Point:
    """Give a policy with the lowest threshold that reaches a score on validation, by bisection; the highest if none."""
    values = kit.thresholds(TUNED_THRESHOLDS, policy.measure)
    low, high, best = 0, len(values) - 1, on_validation(replace(policy, least=values[-1]), kit)
    while low < high:
        middle = (low + high) // 2
        point = on_validation(replace(policy, least=values[middle]), kit)
        if point.score >= least_score - 1e-12:
            high, best = middle, point
        else:
            low = middle + 1
    return best


def parameters(policy: Policy) -> dict[str, Any]:
    """Give a policy's parameters as they are reported."""
    shown = {name: value for name, value in vars(policy).items() if isinstance(value, int | float | str)}
    exits = getattr(policy, "exits", None)
    return shown | ({"exits": list(exits)} if exits is not None else {})
