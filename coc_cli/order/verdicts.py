"""Verdicts on pairs of stages: which of both orders scores more, over seeds, with all pairs in mind.

Seeds are the units: a pair has one number for each of them, by how many points the first order scores more. They are
tested against 0 (Student 1908), p values of all pairs are corrected together (Holm 1979).
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from scipy.optimize import brentq
from scipy.stats import nct, t

FEWEST_SEEDS = 5  # for a verdict
LEVEL = 0.05
POWER = 0.8  # with which the smallest effect is found that `smallest_effect` returns
Decision = Literal["before", "after", "undecided", "described"]


@dataclass(frozen=True)
class Effect:
    """By how many points the first of two scores more, over seeds."""

    by_seed: tuple[float, ...]
    mean: float
    ci95: tuple[float, float] | None  # t interval; None for one seed
    p: float | None  # two-sided, not corrected; None for one seed

    @property
    def deviation(self) -> float:
        """Standard deviation over seeds; 0 for one."""
        return statistics.stdev(self.by_seed) if len(self.by_seed) > 1 else 0.0


def effect(by_seed: Sequence[float]) -> Effect:
    """Return the mean of paired differences, one for each seed, with its 95 % interval and p value."""
    values, n = tuple(by_seed), len(by_seed)
    mean = math.fsum(values) / n
    if n == 1:
        return Effect(values, mean, None, None)
    error = statistics.stdev(values) / math.sqrt(n)
    half = float(t.ppf(0.975, n - 1)) * error
    if error == 0:  # seeds that all say the same
        return Effect(values, mean, (mean, mean), 1.0 if mean == 0 else 0.0)
    return Effect(values, mean, (mean - half, mean + half), float(2 * t.sf(abs(mean) / error, n - 1)))


def holm(p_values: Sequence[float]) -> list[float]:
    """Return p values corrected for being tested together (Holm 1979), in the order in which they came."""
    order = sorted(range(len(p_values)), key=lambda index: p_values[index])
    corrected, least = [0.0] * len(p_values), 0.0
    for rank, index in enumerate(order):
        least = max(least, min(1.0, (len(p_values) - rank) * p_values[index]))
        corrected[index] = least
    return corrected


@dataclass(frozen=True)
class Verdict:
    """Whether a stage belongs before another."""

    first: str
    second: str
    effect: Effect  # of the first before the second
    p: float | None  # corrected for all that were tested together
    decision: Decision

    @property
    def edge(self) -> tuple[str, str] | None:
        """The earlier and the later stage, if that is decided."""
        return {"before": (self.first, self.second), "after": (self.second, self.first)}.get(self.decision)


def tested(families: Sequence[Sequence[float]]) -> list[tuple[Effect, float | None, Decision]]:
    """Return of differences by seed, tested together: the effect, its corrected p value, and what is decided."""
    effects = [effect(by_seed) for by_seed in families]
    corrected = iter(holm([one.p for one in effects if one.p is not None]))
    p_values = [None if one.p is None else next(corrected) for one in effects]
    return [(one, p, _decision(one, p)) for one, p in zip(effects, p_values, strict=True)]


def verdicts(pairs: Mapping[tuple[str, str], Sequence[float]]) -> list[Verdict]:
    """Return a verdict for each pair.

    Args:
        pairs: By how many points the pair in this order scores more than in the other, for each seed.
    """
    found = zip(pairs.items(), tested(list(pairs.values())), strict=True)
    return [Verdict(*pair, one, p, decision) for (pair, _), (one, p, decision) in found]


def _decision(one: Effect, p: float | None) -> Decision:
    if len(one.by_seed) < FEWEST_SEEDS or p is None:
        return "described"
    if p >= LEVEL:
        return "undecided"
    return "before" if one.mean > 0 else "after"


def smallest_effect(seeds: int, deviation: float, pairs: int) -> float | None:
    """Return the effect in points that so many seeds decide in 80 % of experiments, where no other pair is decided.

    Args:
        seeds: How many.
        deviation: Of a pair's differences between seeds, in points.
        pairs: That are tested together.

    Returns:
        None where so few seeds decide nothing.
    """
    if seeds < FEWEST_SEEDS:
        return None
    threshold, free = float(t.isf(LEVEL / pairs / 2, seeds - 1)), seeds - 1

    def lacking(shift: float) -> float:
        return float(nct.sf(threshold, free, shift)) - POWER  # of the wrong sign there are next to none

    return float(brentq(lacking, 0.0, 3 * threshold)) * deviation / math.sqrt(seeds)
