"""Statistics of coc order: by hand, and on made-up outcomes with a spread as large as that between seeds of digits."""

from __future__ import annotations

import math
from itertools import combinations

import numpy as np
import pytest

from coc_cli.order.curves import common_range, gap, mean_height
from coc_cli.order.sorting import sort
from coc_cli.order.verdicts import Decision, Effect, Verdict, effect, holm, smallest_effect, verdicts

STAGES = ("distill", "prune", "quantize", "early_exit")
PAIRS = list(combinations(STAGES, 2))
SEEDS = 10
SPREAD = 1.5  # points, of a pair's differences between seeds


def test_an_effect_by_hand() -> None:
    found = effect([1.0, 2.0, 3.0, 4.0, 5.0])
    assert found.mean == 3
    assert found.deviation == pytest.approx(math.sqrt(2.5))
    assert found.ci95 == pytest.approx((3 - 2.776445 * math.sqrt(0.5), 3 + 2.776445 * math.sqrt(0.5)), abs=1e-5)
    assert found.p == pytest.approx(0.013235, abs=1e-6)  # t = 4.2426 with 4 degrees of freedom


def test_an_effect_of_equal_seeds_or_of_one() -> None:
    assert effect([2.0] * 6).p == 0
    assert effect([0.0] * 6).p == 1
    assert (effect([2.0]).ci95, effect([2.0]).p) == (None, None)


def test_holm_by_hand() -> None:
    # sorted 0.005 0.01 0.03 0.04: times 4, 3, 2, 1, and never less than the one before
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.9, 0.6]) == [1.0, 1.0]


def test_nothing_is_decided_under_five_seeds() -> None:
    for seeds, decision in ((1, "described"), (4, "described"), (5, "before")):
        (found,) = verdicts({("prune", "quantize"): [3.0 + 0.01 * seed for seed in range(seeds)]})
        assert found.decision == decision
        assert (found.edge is not None) == (decision == "before")
    assert smallest_effect(4, 1.0, 6) is None


def test_families_of_null_pairs_have_no_edge() -> None:
    random = np.random.default_rng(0)
    families = [verdicts({pair: random.normal(0, SPREAD, SEEDS).tolist() for pair in PAIRS}) for _ in range(1000)]
    assert sum(all(one.edge is None for one in family) for family in families) >= 930


def test_a_planted_effect_is_found() -> None:
    random = np.random.default_rng(1)
    found = 0
    for _ in range(1000):
        draws = {pair: random.normal(2 * SPREAD if pair == PAIRS[2] else 0, SPREAD, SEEDS).tolist() for pair in PAIRS}
        found += verdicts(draws)[2].decision == "before"
    assert found >= 900


def test_the_smallest_effect_is_found_in_four_of_five() -> None:
    random, least = np.random.default_rng(2), smallest_effect(SEEDS, SPREAD, len(PAIRS))
    assert least is not None
    p_values = [effect(random.normal(least, SPREAD, SEEDS).tolist()).p or 0.0 for _ in range(2000)]
    assert np.mean(np.array(p_values) < 0.05 / len(PAIRS)) == pytest.approx(0.8, abs=0.03)


def decided(first: str, second: str, mean: float = 1.0, p: float = 0.001, decision: Decision = "before") -> Verdict:
    return Verdict(first, second, Effect((mean,) * 5, mean, (mean, mean), p), p, decision)


def test_decided_pairs_are_sorted_and_ties_listed() -> None:
    found = sort(STAGES, [decided("prune", "distill"), decided("prune", "early_exit", decision="undecided")])
    assert found.order == ("prune", "distill", "quantize", "early_exit")
    assert ("distill", "prune") not in found.ties
    assert len(found.ties) == 5


def test_what_follows_from_two_verdicts_is_no_tie() -> None:
    found = sort(STAGES, [decided("quantize", "prune"), decided("distill", "prune", decision="after")])
    assert found.order == ("quantize", "prune", "distill", "early_exit")
    assert not {("distill", "prune"), ("prune", "quantize"), ("distill", "quantize")} & set(found.ties)


def test_a_planted_cycle_is_reported_and_not_broken() -> None:
    around = [decided("distill", "prune"), decided("prune", "quantize", p=0.04), decided("quantize", "distill")]
    found = sort(STAGES, [*around, decided("distill", "early_exit")])
    assert found.order is None
    assert set(found.cycle) == {"distill", "prune", "quantize"}
    pairs = {(one, two) for one, two in zip(found.cycle, (*found.cycle[1:], found.cycle[0]), strict=True)}
    assert pairs == {("distill", "prune"), ("prune", "quantize"), ("quantize", "distill")}
    assert found.weakest == around[1]


def test_the_area_between_curves_by_hand() -> None:
    first = [(1.0, 90.0), (math.e**2, 80.0)]
    second = [(math.e, 86.0), (math.e**3, 76.0)]
    assert common_range((first, second)) == pytest.approx((1.0, 2.0))
    assert mean_height(first, (1.0, 2.0)) == pytest.approx(82.5)
    assert gap(first, second) == pytest.approx(82.5 - 83.5)
    assert gap(first, [(math.e**2, 1.0), (math.e**3, 1.0)]) is None


def test_points_of_a_curve_come_in_any_order_and_equal_ones_count_once() -> None:
    curve = [(math.e**2, 3.0), (1.0, 1.0), (math.e, 4.0), (math.e, 2.0)]
    assert mean_height(curve, (0.0, 2.0)) == pytest.approx((2.0 + 3.0) / 2)
