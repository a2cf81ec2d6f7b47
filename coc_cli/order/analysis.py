"""From what chains measured to verdicts, an order and a ranking."""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations, permutations
from typing import Any

from coc_cli.order.curves import Curve, common_range, gap, mean_height
from coc_cli.order.design import PAIR, Design, Order
from coc_cli.order.verdicts import LEVEL, Verdict, effect, holm, smallest_effect, tested, verdicts
from coc_cli.order.work import Outcome
from coc_cli.report.schema import order as schema


@dataclass(frozen=True)
class Curves:
    """Score against ratio of BitOps of every order and seed."""

    by_order: Mapping[tuple[Order, int], Curve]
    seeds: tuple[int, ...]

    @classmethod
    def of(cls, design: Design, outcomes: Mapping[str, Outcome], scale: float) -> Curves:
        """Return the curves of a finished experiment; scores are multiplied by `scale`."""
        seeds = tuple(design.baselines)
        baseline = {seed: outcomes[job].bitops for seed, job in design.baselines.items()}
        curves: dict[tuple[Order, int], list[tuple[float, float]]] = {}
        for cell, job in sorted(design.cells.items(), key=lambda item: item[0].strength):
            one = outcomes[job]
            curves.setdefault((cell.order, cell.seed), []).append((baseline[cell.seed] / one.bitops, scale * one.score))
        return cls(curves, seeds)

    def gaps(self, first: Order, second: Order) -> list[float]:
        """Return by how much one order scores more than another, for each seed whose curves can be compared."""
        found = (gap(self.by_order[first, seed], self.by_order[second, seed]) for seed in self.seeds)
        return [one for one in found if one is not None]


def pair_entries(curves: Curves, stages: Sequence[str]) -> tuple[list[schema.PairEntry], list[Verdict]]:
    """Return the verdicts on all pairs that can be compared."""
    pairs = {(one, two): curves.gaps((one, two), (two, one)) for one, two in combinations(stages, PAIR)}
    found = verdicts({pair: values for pair, values in pairs.items() if values})
    return [schema.PairEntry(**_pair(one, curves)) for one in found], found


def _pair(one: Verdict, curves: Curves) -> dict[str, Any]:
    left_out = len(curves.seeds) - len(one.effect.by_seed)
    about = {"first": one.first, "second": one.second, "decision": one.decision, "left_out": left_out}
    return {**_effect(one), **about}


def _effect(one: Verdict) -> dict[str, Any]:
    found = one.effect
    return {"by_seed": list(found.by_seed), "mean": found.mean, "ci95": found.ci95, "p": found.p, "p_holm": one.p}


def insertion_entries(curves: Curves, stages: Sequence[str], pairs: Sequence[Verdict]) -> list[schema.InsertionEntry]:
    """Return the verdicts on all pairs with each third stage before, between and behind them, tested together."""
    gaps = {name: curves.gaps(*both) for name, both in _insertions(stages)}
    named = {name: values for name, values in gaps.items() if values}
    own = {(one.first, one.second): one.decision for one in pairs}
    entries = []
    for (first, second, third, place), found in zip(named, tested(list(named.values())), strict=True):
        verdict = Verdict(first, second, *found)
        turned = {own.get((first, second)), verdict.decision} == {"before", "after"}
        entries.append(schema.InsertionEntry(**_pair(verdict, curves), third=third, place=place, turned=turned))
    return entries


def _insertions(stages: Sequence[str]) -> Iterator[tuple[tuple[str, str, str, schema.Place], tuple[Order, Order]]]:
    for a, b in combinations(stages, PAIR):
        for c in stages:
            if c not in (a, b):
                yield (a, b, c, "before"), ((c, a, b), (c, b, a))
                yield (a, b, c, "between"), ((a, c, b), (b, c, a))
                yield (a, b, c, "after"), ((a, b, c), (b, a, c))


def ranking(curves: Curves, stages: Sequence[str]) -> list[schema.RankEntry]:
    """Return all orders, the best first: mean height over the range that all of them share, and how sure that is."""
    every = list(permutations(stages))
    heights: dict[Order, list[float]] = {order: [] for order in every}
    for seed in curves.seeds:
        stretch = common_range([curves.by_order[order, seed] for order in every])
        if stretch is not None:
            for order in every:
                heights[order].append(mean_height(curves.by_order[order, seed], stretch))
    if not all(heights.values()):
        return []
    ranked = sorted(every, key=lambda order: -statistics.mean(heights[order]))
    best = heights[ranked[0]]
    behind = {order: effect([own - top for own, top in zip(heights[order], best, strict=True)]) for order in ranked[1:]}
    corrected = dict(zip(behind, holm([1.0 if one.p is None else one.p for one in behind.values()]), strict=True))
    entries = []
    for order in ranked:
        own = effect(heights[order])
        entry = None
        if order in behind:
            verdict = Verdict(order[0], order[1], behind[order], corrected[order], "described")
            entry = schema.EffectEntry(**_effect(verdict))
        is_as_good = order not in corrected or corrected[order] >= LEVEL
        about = {"order": list(order), "score": own.mean, "ci95": own.ci95}
        entries.append(schema.RankEntry(**about, behind_best=entry, is_as_good=is_as_good))
    return entries


def smallest(found: Sequence[Verdict], seeds: int) -> float | None:
    """Return the smallest effect that so many seeds decide in 80 %, at the spread of the pairs that was seen."""
    deviations = [one.effect.deviation for one in found if len(one.effect.by_seed) > 1]
    return smallest_effect(seeds, statistics.median(deviations), len(found)) if deviations else None


def curve_entries(curves: Curves) -> list[schema.CurveEntry]:
    """Return all curves."""
    return [
        schema.CurveEntry(order=list(order), seed=seed, points=[*points])
        for (order, seed), points in curves.by_order.items()
    ]
