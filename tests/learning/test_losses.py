"""The losses against hand-computed values."""

from __future__ import annotations

import math

import pytest
import torch

from coc_cli.learning.losses import attention, attention_transfer, distillation
from coc_cli.learning.tasks import Classification
from coc_cli.learning.training import Batch
from coc_cli.nets.network import Network
from coc_cli.stages.distill import Distill


def test_distillation_by_hand() -> None:
    # T = 2: the teacher's logits (2 ln 3, 0) soften to (3/4, 1/4), the student's (0, 0) to (1/2, 1/2)
    teacher = torch.tensor([[2 * math.log(3), 0.0]], dtype=torch.float64)
    student = torch.zeros(1, 2, dtype=torch.float64)
    expected = 4 * (0.75 * math.log(0.75 / 0.5) + 0.25 * math.log(0.25 / 0.5))
    assert float(distillation(student, teacher, 2.0)) == pytest.approx(expected, rel=1e-12)


def test_distillation_is_the_mean_over_the_batch() -> None:
    student, teacher = torch.randn(2, 5, dtype=torch.float64), torch.randn(2, 5, dtype=torch.float64)
    each = [distillation(student[i : i + 1], teacher[i : i + 1], 3.0) for i in range(2)]
    assert float(distillation(student, teacher, 3.0)) == pytest.approx(float(sum(each)) / 2, rel=1e-12)


def test_a_student_that_is_its_teacher_has_nothing_to_learn(network: Network, images: torch.Tensor) -> None:
    taught = network(images)[-1]
    assert float(distillation(taught, taught, 4.0)) == 0.0
    feature = torch.randn(3, 4, 5, 5)
    assert float(attention_transfer([feature], [feature])) == 0.0


def test_attention_by_hand() -> None:
    feature = torch.tensor([[[[1.0, 2.0]], [[3.0, 0.0]]]])  # means of squares 5 and 2
    torch.testing.assert_close(attention(feature), torch.tensor([[5.0, 2.0]]) / math.sqrt(29))


def test_a_stage_weighs_classes_and_teacher() -> None:
    stage = Distill(student="same", kd_weight=0.25, temperature=2.0)
    outputs = [torch.tensor([[1.0, 0.0]]), torch.tensor([[0.0, 0.0]])]
    taught = torch.tensor([[2 * math.log(3), 0.0]])
    hard = (math.log(1 + math.exp(-1)) + math.log(2)) / 2
    soft = float(sum(distillation(output, taught, 2.0) for output in outputs)) / 2
    found = stage.loss_of(Classification(), outputs, Batch(torch.empty(0), torch.tensor([0])), taught)
    assert float(found) == pytest.approx(0.75 * hard + 0.25 * soft, rel=1e-6)
