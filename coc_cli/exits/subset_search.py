"""Which exits to keep and a least confidence for each: the dearest opponent of prediction, and often the best policy.

Searched on validation by exchange: the thresholds of two exits at a time are tried in every combination until no pair
makes it cheaper; with few exits all combinations are tried. numpy only.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from coc_cli.dvfs.energy import Array
from coc_cli.exits.exit_pairs import COARSE, EQUAL, ExitPairs, PartCosts
from coc_cli.exits.traces import Shifted

LEVELS = 1 - np.geomspace(0.004, 0.98, COARSE)  # of an exit's confidence, at which thresholds stand
MOST_COMBINATIONS = 400  # of all exits but two: so many are tried, where there are more pairs are exchanged
SAFER = (0.0, 0.3, 0.8, 2.0, 5.0)  # by which thresholds are raised until the score is reached


@dataclass(frozen=True)
class Found:
    """A choice that reaches the score and keeps the limit, and what it costs on average."""

    measure: Shifted
    cost: float
    score: float

    @property
    def exits(self) -> tuple[int, ...]:
        """The exits that are kept."""
        return self.measure.kept


def search(
    confidence: Array,
    score: Array,
    costs: PartCosts,
    least_score: float,
    base: str,
    *,
    starts: Sequence[Shifted] = (),
    within: Shifted | None = None,
) -> Found | None:
    """Return the cheapest choice that was found; None where none reaches the score within the limit.

    Args:
        confidence: Of each inner exit, [E, N], on the scale on which `Shifted` compares.
        score: Of each exit, the final one last, [E + 1, N]; its mean is to reach `least_score`.
        costs: Of segments and heads.
        least_score: The mean score that is asked for.
        base: The measure that `confidence` is of.
        starts: Choices to begin from, beside those that every search begins from.
        within: A choice of which only the thresholds may be others: no exit is kept that it does not keep.
    """
    values = [_with_ends(np.quantile(row[np.isfinite(row)], LEVELS)) for row in confidence]
    known = ExitPairs(confidence, score, costs, least_score, values)
    if within is not None:
        return _searched_within(known, within, base)
    best = known.exhausted() if known.combinations <= MOST_COMBINATIONS else known.descended(known.starts())
    for start in starts:
        again = known.including(start)
        tried = again.descended([again.places(start)])
        if tried is not None and (best is None or tried[1] < best[1] - EQUAL):
            known, best = again, tried
    if best is None:
        return None
    finer = known.around(best[0])
    best = finer.descended([finer.nearest(known, best[0])]) or best
    return Found(Shifted(base, finer.thresholds(best[0])), best[1], best[2])


def _searched_within(known: ExitPairs, within: Shifted, base: str) -> Found | None:
    """Return the cheapest choice in which the same exits, or fewer, have other thresholds; surer ones to begin with."""
    safer = [Shifted(base, tuple(least + shift for least in within.least)) for shift in SAFER]
    for start in safer:
        near = known.near(start)
        best = near.descended([near.places(start)])
        if best is not None:
            return Found(Shifted(base, near.thresholds(best[0])), best[1], best[2])
    return None


def _with_ends(values: Sequence[float] | Array) -> Array:
    """Return thresholds, rising, from that at which all leave to that at which the exit is not kept."""
    return np.concatenate([[-np.inf], np.unique(values), [np.inf]])
