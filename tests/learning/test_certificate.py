"""Promises: by hand, on populations of known risk, and what is refused."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from command_line import coc
from tiny import TINY_EXITS

from coc_cli.learning.certificate import certified, evidence, halves, images_for, least_limit
from coc_cli.learning.exit_thresholds import best_threshold, promised_threshold
from coc_cli.nets.exit_rules import NEVER
from coc_cli.nets.spec import ExitRule

RULE = ExitRule(measure="max_softmax", threshold=0.0, max_drop=0.02, confidence=0.95)
COSTS = (1.0, 2.0, 4.0)


def test_what_images_without_a_loss_show() -> None:
    none = np.zeros(700)
    assert evidence(none, none, 0.005) == pytest.approx((1 / (1 - 0.005)) ** 700, rel=1e-6)
    assert least_limit(600, 0.95) == pytest.approx(0.00498, abs=1e-5)
    assert images_for(0.005, 0.95) == 598
    assert certified(none[None], np.zeros((1, 598)), 0.005, 0.95) == 1
    assert certified(none[None], np.zeros((1, 597)), 0.005, 0.95) == 0
    assert certified(none[None], np.zeros((1, 0)), 0.5, 0.95) == 0


def test_the_path_ends_before_the_first_that_is_not_shown() -> None:
    path = np.zeros((3, 1000))
    path[1, :100] = 1.0  # a tenth is lost
    assert certified(path, path, 0.02, 0.95) == 1, "what comes behind is not looked at, good or not"
    assert certified(path, path, 0.2, 0.95) == 3
    gains = np.zeros((1, 1000))
    gains[0, :30], gains[0, 30:60] = 1.0, -1.0
    assert evidence(gains[0], gains[0], 0.05) > 20, "what is gained counts against what is lost"


def test_halves_are_all_images_once() -> None:
    first, second = halves(101)
    assert (len(first), len(second)) == (50, 51)
    assert sorted([*first, *second]) == list(range(101))


class Population:
    """20,000 inputs, two exits that are wrong more often than the final output: the drop of each threshold is known."""

    def __init__(self) -> None:
        random, n = np.random.default_rng(1), 20_000
        hard = random.random(n)
        logits = [random.normal(0, 1.2, n) + scale * (1 - hard) for scale in (4.0, 6.0)]
        right = [random.random(n) < chance for chance in (1 - 0.9 * hard**2, 1 - 0.6 * hard**2, 1 - 0.3 * hard**2)]
        self.score = torch.from_numpy(np.stack(right)).double()
        two = [torch.from_numpy(np.stack([np.zeros(n), logit], 1)) for logit in logits]
        self.outputs = [*two, torch.zeros(n, 2, dtype=torch.float64)]

    def drop(self, threshold: float) -> float:
        fires = torch.stack([output.softmax(1).amax(1) >= threshold for output in self.outputs[:-1]])
        exits = torch.cat([fires, torch.ones_like(fires[:1])]).int().argmax(0)
        return float((self.score[-1] - self.score.gather(0, exits[None])[0]).mean())

    def drawn(self, random: np.random.Generator, n: int) -> tuple[list[torch.Tensor], torch.Tensor]:
        rows = torch.from_numpy(random.integers(0, self.score.shape[1], n))
        return [output[rows] for output in self.outputs], self.score[:, rows]


@pytest.mark.full
def test_a_promise_fails_as_seldom_as_it_says(monkeypatch: pytest.MonkeyPatch) -> None:
    """500 validation sets of 1,200 images: at most 37 failures, the 99 % bound of a valid 5 %."""
    monkeypatch.setattr("coc_cli.learning.exit_thresholds.CANDIDATES", 60)  # of thresholds: for the test's time alone
    population, random = Population(), np.random.default_rng(0)
    failed, unpromised, used = 0, 0, 0
    for _ in range(500):
        outputs, score = population.drawn(random, 1200)
        threshold = promised_threshold(outputs, score, RULE, COSTS)
        failed += population.drop(threshold) > RULE.max_drop
        used += threshold < NEVER["max_softmax"]
        unpromised += population.drop(best_threshold(outputs, score, RULE, COSTS)) > RULE.max_drop
    assert failed <= 37
    assert used > 350, "it is of use, too"
    assert unpromised > 100, "chosen without a test it fails far more often"


def test_a_promised_threshold_is_safer_than_a_chosen_one() -> None:
    population = Population()
    outputs, score = population.drawn(np.random.default_rng(3), 1200)
    first = torch.from_numpy(halves(1200)[0])
    chosen = best_threshold([output[first] for output in outputs], score[:, first], RULE, COSTS)
    assert promised_threshold(outputs, score, RULE, COSTS) >= chosen
    strict = RULE.model_copy(update={"max_drop": 1e-4})
    assert promised_threshold(outputs, score, strict, COSTS) == NEVER["max_softmax"]
    assert math.isfinite(NEVER["max_softmax"])


def test_a_plan_says_what_so_few_images_can_promise(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("r.yaml").write_text(TINY_EXITS.replace("max_drop: 0.02", "max_drop: 0.005, confidence: 0.95"))
    assert coc("plan", "r.yaml", code=2).stderr == (
        "r.yaml:6: chain[0].early_exit.confidence: max_drop 0.005 needs 1,196 validation images; with 360 the least that can be"
        " promised is 0.0165\n"
    )
    Path("r.yaml").write_text(TINY_EXITS.replace("max_drop: 0.02", "max_drop: 0.02, confidence: 0.95"))
    coc("plan", "r.yaml")
    numbers = TINY_EXITS.replace("{source: digits}", "{source: digits-rotation}")
    Path("r.yaml").write_text(numbers.replace("max_drop: 0.02", "max_drop: 2, confidence: 0.95"))
    assert "confidence: a promise needs classes and their accuracy" in coc("plan", "r.yaml", code=2).stderr
