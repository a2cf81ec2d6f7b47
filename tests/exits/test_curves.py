"""Curves and what is saved at equal score."""

from __future__ import annotations

import math

import numpy as np
import pytest

from coc_cli.exits.curves import Curve, macs_at, savings


def test_interpolation_by_hand() -> None:
    score, macs = np.array([0.8, 0.9, 0.85]), np.array([10.0, 30.0, 25.0])
    assert macs_at(score, macs, 0.8) == 10.0
    assert macs_at(score, macs, 0.825) == pytest.approx(17.5)
    assert macs_at(score, macs, 0.9) == 30.0
    assert macs_at(score, macs, 0.5) == 10.0, "cheaper than its cheapest point it cannot be"
    assert math.isnan(macs_at(score, macs, 0.91))
    assert macs_at(np.array([0.9, 0.8]), np.array([10.0, 20.0]), 0.85) == 10.0, "points that are beaten do not count"


def test_savings_of_a_policy_that_costs_a_fifth_less_everywhere() -> None:
    random = np.random.default_rng(0)
    full = (random.random(2000) < 0.9).astype(float)
    worse = np.where(random.random(2000) < 0.05, 0.0, full)
    cost = random.uniform(40, 60, 2000)
    classic = Curve((), full[None], np.full((1, 2000), 100.0))
    passive = Curve((), np.stack([worse, full]), np.stack([cost / 2, cost]))
    ours = Curve((), passive.score, passive.macs * 0.8)
    found = savings({"classic": classic, "threshold": passive, "predictive": ours}, 0.0, full)
    assert found["predictive"]["passive"].fraction == pytest.approx(0.2, abs=1e-9)
    assert found["predictive"]["passive"].low == pytest.approx(0.2, abs=1e-6), "paired: the same images for both"
    assert found["predictive"]["classic"].fraction == pytest.approx(1 - cost.mean() * 0.8 / 100)
    assert found["threshold"]["passive"].fraction == 0.0
    low, high = found["threshold"]["classic"].low, found["threshold"]["classic"].high
    half = 1.96 * cost.std() / math.sqrt(2000) / 100
    assert (high - low) / 2 == pytest.approx(half, rel=0.15)
