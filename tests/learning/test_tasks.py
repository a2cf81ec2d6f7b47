"""Losses, scores and metrics of both tasks, by hand."""

from __future__ import annotations

import math

import pytest
import torch

from coc_cli.intervals import wilson
from coc_cli.learning.tasks import Classification, Regression, task_of
from coc_cli.nets.spec import Scale, Spec

TASK = Regression(("angle", "size"), Scale(mean=(10.0, 0.0), std=(2.0, 0.5)))


def test_wilson_by_hand() -> None:
    # 8 of 10: (0.8 + 3.8415/20) / 1.38415 -+ 1.96/1.38415 * sqrt(0.016 + 3.8415/400)
    assert wilson(8, 10) == pytest.approx((0.4901625, 0.9433178), abs=1e-6)
    assert wilson(0, 5)[0] == 0.0
    assert wilson(5, 5)[1] == pytest.approx(1.0)


def test_accuracy_by_hand() -> None:
    task = Classification()
    scores = task.scores(torch.tensor([[1.0, 0.0], [2.0, 3.0], [0.0, 1.0]]), torch.tensor([0, 0, 1]))
    assert scores.tolist() == [1.0, 0.0, 1.0]
    assert task.value(scores) == pytest.approx(2 / 3)
    assert task.interval(scores) == wilson(2, 3)


def test_numbers_are_answered_and_scored_in_their_own_units() -> None:
    output = torch.tensor([[0.0, 0.0], [1.0, -2.0]])
    assert TASK.answers(output).tolist() == [[10.0, 0.0], [12.0, -1.0]]
    scores = TASK.scores(output, torch.tensor([[13.0, 1.0], [12.0, -1.0]]))
    assert scores.tolist() == [-2.0, 0.0]  # the mean of 3 and 1; right
    assert TASK.value(scores) == 1.0
    assert str(TASK.value(torch.zeros(2))) == "0.0"  # no minus before it


def test_the_loss_of_numbers_by_hand() -> None:
    targets = torch.tensor([[14.0, 0.02]])  # 2 and 0.04 deviations
    plain = TASK.loss(torch.zeros(1, 2), targets)
    smooth = ((2 - 0.05) + 0.5 * 0.04**2 / 0.1) / 2
    assert float(plain) == pytest.approx(smooth)
    unsure = TASK.loss(torch.tensor([[0.0, 0.0, math.log(4.0), 0.0]]), targets)
    likelihood = ((math.log(4) + 4 / 4) + (0 + 0.04**2)) / 2 / 2
    assert float(unsure) == pytest.approx(smooth + likelihood)
    assert float(TASK.distillation_loss(torch.zeros(1, 4), torch.tensor([[1.0, 0.0]]), 4.0)) == pytest.approx(0.95 / 2)


def test_a_log_variance_learns_the_error_that_is_there() -> None:
    errors = torch.tensor([0.5, -1.5, 1.0, 2.0])
    log_variance = torch.zeros((), requires_grad=True)
    task = Regression(("x",), Scale(mean=(0.0,), std=(1.0,)))
    optimizer = torch.optim.LBFGS([log_variance], max_iter=50)

    def loss() -> torch.Tensor:
        optimizer.zero_grad()
        output = torch.stack([torch.zeros(4), log_variance.expand(4)], 1)
        value = task.loss(output, errors[:, None])
        value.backward()
        return value

    optimizer.step(loss)
    assert float(log_variance.detach()) == pytest.approx(math.log(float(errors.square().mean())), abs=1e-4)


def test_r2_and_its_interval() -> None:
    generator = torch.Generator().manual_seed(0)
    truth = torch.randn(400, 2, generator=generator)
    given = truth + 0.5 * torch.randn(400, 2, generator=generator)
    details = TASK.details(TASK.scale.outputs(given), truth)
    # 1 - 0.25 / 1 for each target; the interval's width is that of theory, 2 x 1.96 x sd / sqrt(n), near 0.07
    assert details["r2"] == pytest.approx(0.75, abs=0.05)
    assert details["r2_ci95"][0] < details["r2"] < details["r2_ci95"][1]
    assert set(details["mae_by_target"]) == {"angle", "size"}
    assert details["mae_by_target"]["size"] == pytest.approx(float((given - truth)[:, 1].abs().mean()), rel=1e-6)
    assert TASK.details(TASK.scale.outputs(truth.mean(0).expand(400, 2)), truth)["r2"] == pytest.approx(0.0, abs=1e-6)


def test_the_bootstrap_is_near_the_normal_interval() -> None:
    scores = -torch.rand(500, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    low, high = TASK.interval(scores)
    half = 1.96 * float(scores.std()) / math.sqrt(500)
    assert (low, high) == pytest.approx((-float(scores.mean()) - half, -float(scores.mean()) + half), abs=half / 10)
    assert TASK.interval(scores) == (low, high), "the same every time"


def test_a_spec_has_its_task(spec: Spec) -> None:
    assert isinstance(task_of(spec), Classification)
    found = task_of(spec.with_changes(task="regression", labels=("x",)))
    assert isinstance(found, Regression)
    assert found.scale == Scale(mean=(0.0,), std=(1.0,))


def test_the_best_constant_and_how_much_answers_vary_by_hand() -> None:
    classes = Classification()
    targets = torch.tensor([0] * 7 + [1] * 3)
    assert int(classes.constant(targets)) == 0
    assert classes.value(classes.score_answers(torch.zeros(10, dtype=torch.int64), targets)) == 0.7
    # Gini's impurities: of targets 1 - 0.49 - 0.09 = 0.42, of nine to one 1 - 0.81 - 0.01 = 0.18
    nine = torch.tensor([0] * 9 + [1])
    assert classes.spread(nine, targets) == pytest.approx(0.18 / 0.42)
    assert classes.spread(torch.zeros_like(targets), targets) == 0
    assert classes.spread(targets, torch.zeros_like(targets)) == 1  # nothing to vary by
    numbers = torch.tensor([[0.0, 5.0], [2.0, 5.0], [10.0, 8.0]])
    assert TASK.constant(numbers).tolist() == [2.0, 5.0]
    halved = torch.stack([numbers[:, 0], numbers[:, 1] / 2], 1)
    assert TASK.spread(halved, numbers) == pytest.approx(0.5)


def test_top_five_needs_more_than_ten_classes() -> None:
    outputs = torch.eye(11) + torch.arange(11) / 100  # each row's own class first, then 10, 9, 8, 7
    assert Classification().details(outputs[:, :10], torch.arange(11) % 10) == {}
    assert Classification().details(outputs, torch.tensor([0, 1, 2, 10, 9, 8, 7, 6, 5, 4, 3]))["top5"] == 8 / 11
