"""The predictor: class order does not matter, it is calibrated, and it costs next to nothing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from synthetic_traces import CLASSES, EXITS, synthetic

from coc_cli.dvfs.energy import Work, Workload
from coc_cli.dvfs.profile import read_profile
from coc_cli.exits.policies.context import PREDICTED_THRESHOLDS, PolicyContext
from coc_cli.exits.predictor import MACS_FRACTION, Predictor, calibration_error, distribution, hidden_for
from coc_cli.exits.predictor_fitting import fitted, samples_of
from coc_cli.exits.traces import Trace, first_confident

MACS = 1e6


@pytest.fixture(scope="module")
def trace() -> Trace:
    return synthetic(3000, 1)


THRESHOLDS = (0.8, 0.9, 0.97)


def context_of(trace: Trace, measure: str, thresholds: Sequence[float], macs: float) -> PolicyContext:
    work = Workload((Work({"fp32": macs}), *[Work()] * EXITS), (Work(),) * EXITS)
    known = {(PREDICTED_THRESHOLDS, measure): list(thresholds)}
    return PolicyContext(trace, work, read_profile("cortex-m7"), (measure,), 0, _known=known)


def fit(
    trace: Trace, measure: str = "max_softmax", thresholds: Sequence[float] = THRESHOLDS, macs: float = MACS
) -> Predictor:
    return fitted(context_of(trace, measure, thresholds, macs), [measure])[measure].predictor


def test_a_distribution_by_hand() -> None:
    assert distribution(np.array([[0.0, 0.5, 0.2]]))[0].tolist() == pytest.approx([0.0, 0.5, 0.1, 0.4])


def test_questions_know_where_inputs_leave(trace: Trace) -> None:
    asked = samples_of(trace, "max_softmax", [0.9], 0)
    assert len(asked.x) > 1000
    for at in range(EXITS):
        here = asked.at == at
        assert (trace.probabilities[at, asked.image[here], 0] < 0.9).all(), "who is sure has left"
        leaves = asked.left_at[here]
        assert (leaves > at).all()
        inner = leaves < EXITS
        assert (trace.probabilities[leaves[inner], asked.image[here][inner], 0] >= 0.9).all()


@pytest.mark.full
def test_it_foretells_on_inputs_that_it_has_not_seen(trace: Trace) -> None:
    predictor = fit(trace)
    fresh = synthetic(3000, 2)
    for at, least in ((0, 0.9), (2, 0.97)):
        rows = np.flatnonzero(fresh.probabilities[at, :, 0] < least)
        chances = predictor.probabilities(fresh, at, rows, np.full(len(rows), at - 1), least)
        leaves = first_confident(fresh, "max_softmax", least, after=at)[rows]
        assert chances.sum(1) == pytest.approx(1.0)
        assert (chances[:, : at + 1] == 0).all()
        base = np.bincount(leaves, minlength=EXITS + 1) / len(leaves)
        better = np.log(chances[np.arange(len(rows)), leaves]).mean() - np.log(base[leaves]).mean()
        assert better > 0.1, "nats more than base rates know"
        assert calibration_error(chances, leaves) < 0.04


def test_calibration_errors_by_hand() -> None:
    chances = np.array([[0.25, 0.75]] * 4)
    assert calibration_error(chances, np.array([0, 1, 1, 1])) == pytest.approx(0.0)
    assert calibration_error(chances, np.array([0, 0, 0, 1])) == pytest.approx(0.5)


@pytest.mark.full
def test_the_order_of_classes_does_not_matter(trace: Trace) -> None:
    predictor = fit(trace)
    order = np.random.default_rng(3).permutation(CLASSES)
    place = np.argsort(order)
    turned = Trace(
        tuple(output[:, order] for output in trace.outputs),
        place[trace.targets],
        trace.score,
        True,
        place[trace.answer],
    )
    rows = np.arange(500)
    for at in range(EXITS):
        before = np.full(500, at - 1)
        here = predictor.probabilities(trace, at, rows, before, 0.9)
        assert np.array_equal(here, predictor.probabilities(turned, at, rows, before, 0.9))
    again = fit(turned)
    assert np.array_equal(again.w, predictor.w)


@pytest.mark.parametrize("macs", [1e3, *[pytest.param(macs, marks=pytest.mark.full) for macs in (3e4, 3e5, 1e9)]])
def test_it_costs_at_most_a_thousandth_of_the_full_path(trace: Trace, macs: float) -> None:
    predictor = fit(trace, thresholds=(0.9,), macs=macs)
    assert predictor.macs <= macs * MACS_FRACTION
    assert (hidden_for(macs, 10, EXITS) > 0) == (macs >= 3e4)
    rows = np.flatnonzero(trace.probabilities[0, :, 0] < 0.9)
    chances = predictor.probabilities(trace, 0, rows, np.full(len(rows), -1), 0.9)
    leaves = first_confident(trace, "max_softmax", 0.9, after=0)[rows]
    assert chances.mean(0) == pytest.approx(np.bincount(leaves, minlength=EXITS + 1) / len(rows), abs=0.03)


@pytest.mark.full
def test_each_fold_is_foretold_by_who_has_not_seen_it(trace: Trace) -> None:
    context = context_of(trace.rows(np.arange(500)), "max_softmax", (0.9,), MACS)
    assert np.sort(np.concatenate(context.folds)).tolist() == list(range(500))
    one, other = fitted(context, ["max_softmax"])["max_softmax"].folds[:2]
    assert not np.array_equal(one.w, other.w)
    blinded = np.array(context.trace.outputs)
    blinded[:, context.folds[0]] = 0.0
    changed = replace(context, trace=replace(context.trace, outputs=tuple(blinded)))
    assert np.array_equal(fitted(changed, ["max_softmax"])["max_softmax"].folds[0].mean, one.mean), (
        "its fold is not seen"
    )


@pytest.mark.full
def test_features_that_the_heads_pooled_are_used() -> None:
    """Where shares say nothing yet, a feature that knows how hard an input is makes the forecast better."""
    random = np.random.default_rng(5)
    plain, fresh = synthetic(2000, 1), synthetic(2000, 2)
    likelihood = []
    for knows in (False, True):
        seen, unseen = (replace(one, pooled=_pooled(one, random, knows=knows)) for one in (plain, fresh))
        predictor = fit(seen, thresholds=(0.9,), macs=1e9)
        rows = np.flatnonzero(unseen.probabilities[0, :, 0] < 0.9)
        chances = predictor.probabilities(unseen, 0, rows, np.full(len(rows), -1), 0.9)
        leaves = first_confident(unseen, "max_softmax", 0.9, after=0)[rows]
        likelihood.append(np.log(np.maximum(chances[np.arange(len(rows)), leaves], 1e-9)).mean())
    assert likelihood[1] > likelihood[0] + 0.1


def _pooled(trace: Trace, random: np.random.Generator, *, knows: bool) -> np.ndarray:
    """One feature an exit: where the input is sure, and some noise; or noise alone."""
    leaves = first_confident(trace, "max_softmax", 0.9)
    return np.tile(random.normal(0, 1, len(trace)) + 3 * knows * leaves, (EXITS, 1))[..., None]


@pytest.mark.full
def test_numbers_are_foretold_too() -> None:
    random = np.random.default_rng(0)
    hard = random.uniform(0.5, 4, 2000)
    outputs = []
    for exit_ in range(EXITS):
        noise = np.log(hard / (exit_ + 1)) + random.normal(0, 0.1, 2000)
        outputs.append(np.stack([np.zeros(2000), 2 * noise], 1))
    trace = Trace((*outputs, np.zeros((2000, 1))), np.zeros(2000), -np.ones((EXITS + 1, 2000)), False, np.zeros(0))
    trace = Trace(trace.outputs, trace.targets, trace.score, False, np.zeros((EXITS + 1, 2000, 1)))
    predictor = fit(trace, "variance", (-0.5,))
    rows = np.flatnonzero(trace.confidence("variance")[0] < -0.5)
    chances = predictor.probabilities(trace, 0, rows, np.full(len(rows), -1), -0.5)
    leaves = first_confident(trace, "variance", -0.5, after=0)[rows]
    assert (chances.argmax(1) == leaves).mean() > 0.6
