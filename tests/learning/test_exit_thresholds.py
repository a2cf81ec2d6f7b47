"""The exit threshold, on outputs small enough to check by hand."""

from __future__ import annotations

import pytest
import torch

from coc_cli.learning.exit_thresholds import best_threshold
from coc_cli.nets.exit_rules import NEVER
from coc_cli.nets.spec import ExitRule

# Four images, one inner exit: two means and log-variances that tell deviations 1, 2, 3, 4
DEVIATIONS = torch.tensor([1.0, 2.0, 3.0, 4.0])
GIVEN = [torch.stack([torch.zeros(4), 2 * DEVIATIONS.log()], 1), torch.zeros(4, 1)]
SCORES = torch.tensor([[-1.0, -2.0, -3.0, -8.0], [-1.0, -1.0, -1.0, -1.0]], dtype=torch.float64)


@pytest.mark.parametrize(("max_drop", "leave"), [(0.0, 1), (0.24, 1), (0.25, 2), (0.75, 3), (2.4, 3), (2.5, 4)])
def test_as_many_leave_as_the_drop_allows(max_drop: float, leave: int) -> None:
    # leaving costs 0, 1, 2 and 7 more error than the final output: means 0, 0.25, 0.75, 2.5
    rule = ExitRule(measure="variance", threshold=0.0, max_drop=max_drop)
    assert best_threshold(GIVEN, SCORES, rule, [1.0, 10.0]) == pytest.approx(float(DEVIATIONS[leave - 1]))


def test_where_leaving_costs_as_much_as_staying_nobody_leaves() -> None:
    rule = ExitRule(measure="variance", threshold=0.0, max_drop=9.0)
    assert best_threshold(GIVEN, SCORES, rule, [10.0, 10.0]) == NEVER["variance"]


def test_agreement_never_fires_at_the_first_exit() -> None:
    given = [torch.zeros(3, 1), torch.tensor([[0.0], [1.0], [2.0]]), torch.zeros(3, 1)]
    scores = torch.zeros(3, 3, dtype=torch.float64)
    rule = ExitRule(measure="agreement", threshold=0.0, max_drop=0.0)
    assert best_threshold(given, scores, rule, [1.0, 2.0, 3.0]) == 2.0
