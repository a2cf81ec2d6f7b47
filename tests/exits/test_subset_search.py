"""The search for a subset of exits: brute force on small cases, and no head that nobody uses."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest

from coc_cli.exits.exit_pairs import ExitPairs, PartCosts
from coc_cli.exits.subset_search import search

Problem = tuple[np.ndarray, np.ndarray, PartCosts, float]


def problem(seed: int, exits: int, n: int = 150) -> Problem:
    """Inputs of different difficulty, exits that become better, costs and a limit of time; and the score asked for."""
    random = np.random.default_rng(seed)
    hard = random.random(n)
    confidence = np.stack([random.normal(0, 1, n) + 3 * (1 - hard) + 0.7 * exit_ for exit_ in range(exits)])
    chance = [np.clip(0.35 + 0.1 * exit_ + 0.4 * (1 - hard), 0, 0.98) for exit_ in range(exits + 1)]
    score = np.stack([random.random(n) < one for one in chance]).astype(float)
    segment, head = random.uniform(5, 20, exits + 1), random.uniform(0.2, 4, exits)
    limit = segment.sum() + head.sum() * random.uniform(0.2, 1.1)
    return confidence, score, PartCosts(segment, head, segment, head, limit), score[-1].mean() - random.uniform(0, 0.1)


def pairs(seed: int, exits: int) -> ExitPairs:
    confidence, score, costs, least = problem(seed, exits)
    levels = np.linspace(0.2, 0.95, 6 if exits < 4 else 4)
    ends = [np.array([-np.inf, *np.quantile(row, levels), np.inf]) for row in confidence]
    return ExitPairs(confidence, score, costs, least, ends)


def cheapest(known: ExitPairs) -> float | None:
    """Try every subset with every threshold."""
    found = []
    for choice in product(*(range(len(values)) for values in known.values)):
        cost, score = known.outcome(choice)
        if known.is_allowed(choice) and score >= known.least_score - 1e-12:
            found.append(cost)
    return min(found, default=None)


@pytest.mark.parametrize("exits", [2, 3, pytest.param(4, marks=pytest.mark.full)])
@pytest.mark.parametrize("seed", range(8))
def test_it_equals_brute_force(seed: int, exits: int) -> None:
    known = pairs(seed, exits)
    best, found = cheapest(known), known.exhausted()
    assert (best is None) == (found is None)
    if found is not None:
        assert found[1] == pytest.approx(best, rel=1e-6)
        assert known.outcome(found[0]) == found[1:]


@pytest.mark.full
def test_exchanges_of_two_come_close_where_not_all_can_be_tried() -> None:
    gaps = []
    for seed in range(60):
        known = pairs(seed, 4)
        best, found = cheapest(known), known.descended(known.starts())
        if best is not None:
            assert found is not None
            gaps.append(found[1] / best - 1)
    assert min(gaps) > -1e-6
    assert np.mean(np.array(gaps) < 1e-6) > 0.9
    assert np.mean(gaps) < 0.005


def test_a_head_that_no_input_uses_is_not_kept() -> None:
    """As in an audit: an exit that is never sure of an input, and never right, beside one that is."""
    random = np.random.default_rng(0)
    n = 400
    sure = random.random(n)
    confidence = np.stack([np.full(n, -3.0) + 0.001 * sure, 6 * sure - 3])
    score = np.stack([np.zeros(n), (random.random(n) < 0.5 + 0.5 * sure), np.ones(n)]).astype(float)
    costs = PartCosts(np.full(3, 10.0), np.array([1.0, 1.0]), np.zeros(3), np.zeros(2))
    found = search(confidence, score, costs, 0.95, "max_softmax")
    assert found is not None
    assert found.exits == (1,)
    assert found.score >= 0.95
    free = search(confidence, score, costs, 1.0, "max_softmax")
    assert free is not None
    assert free.exits == (), "where no exit is as good as the final output, none is kept"


def test_a_limit_of_time_takes_heads_away() -> None:
    confidence, score, costs, _ = problem(3, 3)
    least = score[-1].mean() - 0.2
    plain = float(costs.segment_ms.sum())
    without = search(
        confidence, score, PartCosts(costs.segment, costs.head, costs.segment, costs.head), least, "entropy"
    )
    tight = PartCosts(costs.segment, costs.head, costs.segment, costs.head, plain + 0.01)
    within = search(confidence, score, tight, least, "entropy")
    assert without is not None
    assert within is not None
    assert len(without.exits) > 0
    assert within.cost >= without.cost
    assert len(within.exits) == 0 or within.measure.last < 3, "all the way there is no time for a head"
    assert search(confidence, score, PartCosts(*[costs.segment, costs.head] * 2, 0.5), least, "entropy") is None
