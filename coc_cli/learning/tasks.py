"""What a task makes of a network's outputs: losses, a score for each image, and the metric.

Outputs are those of one exit. Of a classifier they are logits [N, C]. Of a regression network they are numbers [N, T]
in standard deviations of the training targets (the spec's `scale`); an inner exit that leaves by `variance` adds
log-variances to them, [N, 2T].
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from coc_cli.errors import RunError
from coc_cli.intervals import middle_95, resampled_indices, wilson
from coc_cli.learning.losses import distillation
from coc_cli.learning.own_functions import OwnFunctions, own_functions
from coc_cli.nets.spec import Scale, Spec

if TYPE_CHECKING:
    import numpy as np

SHOW_TOP_FIVE_ABOVE = 10  # classes
SMOOTH = 0.1  # standard deviations: below, errors count by their square, above by their size


class Task(ABC):
    """Losses and metric of a task; the metric is the images' mean score times `sign`, and larger scores are better."""

    metric: str
    sign: int

    @abstractmethod
    def loss(self, output: Tensor, targets: Tensor) -> Tensor:
        """Return the loss of one exit against the targets.

        Args:
            output: Of the exit, [B, C] or [B, T] ([B, 2T] with log-variances).
            targets: Classes int64 [B], their probabilities [B, C], or numbers float32 [B, T] in their own units.

        Returns:
            A scalar, the mean over the batch.
        """

    @abstractmethod
    def distillation_loss(self, output: Tensor, teacher_output: Tensor, temperature: float) -> Tensor:
        """Return the loss of one exit against a teacher's final output.

        Args:
            output: Of the exit, [B, C] or [B, T] ([B, 2T] with log-variances).
            teacher_output: [B, C] or [B, T], without gradient.
            temperature: Softens the classes of both; not used by regression.

        Returns:
            A scalar, the mean over the batch.
        """

    def scores(self, output: Tensor, targets: Tensor) -> Tensor:
        """Return the score of each image, larger is better.

        Args:
            output: Of one exit, [N, C] or [N, T] ([N, 2T] with log-variances).
            targets: Classes int64 [N], or numbers float32 [N, T] in their own units.

        Returns:
            float64 [N]: 1 or 0, or minus the mean absolute error in the targets' units.
        """
        return self.score_answers(self.answers(output), targets)

    @abstractmethod
    def score_answers(self, answers: Tensor, targets: Tensor) -> Tensor:
        """Return the score float64 [N] of each image from answers and targets, [N] or [N, T]."""

    @abstractmethod
    def answers(self, output: Tensor) -> Tensor:
        """Return the predictions of one exit.

        Args:
            output: [N, C] or [N, T] ([N, 2T] with log-variances).

        Returns:
            Class indices [N], or numbers [N, T] in the targets' own units.
        """

    @abstractmethod
    def interval(self, scores: Tensor) -> tuple[float, float]:
        """Return the 95 % interval [low, high] of the metric, from the images' scores [N]."""

    @abstractmethod
    def constant(self, targets: Tensor) -> Tensor:
        """Return the best constant answer: the majority class [] of [N], or the medians [T] of [N, T]."""

    @abstractmethod
    def spread(self, answers: Tensor, targets: Tensor) -> float:
        """Return how much answers vary over images by how much targets do, [N] or [N, T] each; 0 if not at all.

        Gini's impurity of classes, or the standard deviation of numbers: of the target where the ratio is least.
        """

    @abstractmethod
    def details(self, outputs: Tensor, targets: Tensor) -> dict[str, Any]:
        """Return further figures for the report, from outputs [N, C] or [N, T] and targets [N] or [N, T]."""

    def value(self, scores: Tensor) -> float:
        """Return the metric, from the images' scores [N]."""
        return self.sign * float(scores.mean()) + 0.0  # no minus before 0


class Classification(Task):
    """Accuracy, 0..1: the fraction of images whose largest logit is that of their class."""

    metric = "accuracy"
    sign = 1

    def loss(self, output: Tensor, targets: Tensor) -> Tensor:
        return F.cross_entropy(output, targets)

    def distillation_loss(self, output: Tensor, teacher_output: Tensor, temperature: float) -> Tensor:
        return distillation(output, teacher_output, temperature)

    def score_answers(self, answers: Tensor, targets: Tensor) -> Tensor:
        return (answers == targets).double()

    def answers(self, output: Tensor) -> Tensor:
        return output.argmax(1)

    def constant(self, targets: Tensor) -> Tensor:
        return torch.bincount(targets).argmax()

    def spread(self, answers: Tensor, targets: Tensor) -> float:
        impurities = [
            1 - float(each.unique(return_counts=True)[1].double().div(len(each)).square().sum())
            for each in (answers, targets)
        ]
        return impurities[0] / impurities[1] if impurities[1] > 0 else 1.0

    def details(self, outputs: Tensor, targets: Tensor) -> dict[str, Any]:
        if outputs.shape[1] <= SHOW_TOP_FIVE_ABOVE:
            return {}
        return {"top5": float((outputs.topk(5, 1).indices == targets[:, None]).any(1).double().mean())}

    def interval(self, scores: Tensor) -> tuple[float, float]:
        return wilson(int(scores.sum()), len(scores))


class Regression(Task):
    """Mean absolute error in the targets' unit, over images and targets; R2 and the error of each target beside it."""

    metric = "mae"
    sign = -1

    def __init__(self, labels: tuple[str, ...], scale: Scale) -> None:
        self.labels, self.scale = labels, scale

    def _split(self, output: Tensor) -> tuple[Tensor, Tensor]:
        """Return the numbers [N, T] and, of an exit that has them, the log-variances [N, T] (else [N, 0])."""
        return output[:, : len(self.labels)], output[:, len(self.labels) :]

    def loss(self, output: Tensor, targets: Tensor) -> Tensor:
        """Return the smooth absolute error; log-variances learn by the Gaussian likelihood of the present error."""
        numbers, log_variances = self._split(output)
        expected = self.scale.outputs(targets)
        loss = F.smooth_l1_loss(numbers, expected, beta=SMOOTH)
        if log_variances.numel():
            squared = (numbers.detach() - expected).square()
            loss = loss + (log_variances + squared * (-log_variances).exp()).mean() / 2
        return loss

    def distillation_loss(self, output: Tensor, teacher_output: Tensor, temperature: float) -> Tensor:  # noqa: ARG002
        return F.smooth_l1_loss(self._split(output)[0], teacher_output, beta=SMOOTH)

    def score_answers(self, answers: Tensor, targets: Tensor) -> Tensor:
        return -(answers.double() - targets).abs().mean(1)

    def answers(self, output: Tensor) -> Tensor:
        return self.scale.values(self._split(output)[0])

    def interval(self, scores: Tensor) -> tuple[float, float]:
        return _mean_interval(-scores)

    def constant(self, targets: Tensor) -> Tensor:
        return targets.median(0).values

    def spread(self, answers: Tensor, targets: Tensor) -> float:
        deviations = [each.double().std(0, correction=0) for each in (answers, targets)]
        varied = deviations[1] > 0
        return float((deviations[0] / deviations[1])[varied].min()) if varied.any() else 1.0

    def details(self, outputs: Tensor, targets: Tensor) -> dict[str, Any]:
        predicted, true = self.answers(outputs).double().cpu().numpy(), targets.double().cpu().numpy()
        low, high = middle_95(_r2(predicted[index], true[index]) for index in resampled_indices(len(true)))
        errors = abs(predicted - true).mean(0).tolist()
        return {
            "r2": _r2(predicted, true),
            "r2_ci95": [low, high],
            "mae_by_target": dict(zip(self.labels, errors, strict=True)),
        }


class OwnTask(Task):
    """A task with a loss or a metric of the user's own in place of its own."""

    def __init__(self, task: Task, own: OwnFunctions) -> None:
        self.task, self.own = task, own
        self.metric, self.sign = (own.metric_name, 1) if own.metric else (task.metric, task.sign)

    def loss(self, output: Tensor, targets: Tensor) -> Tensor:
        if self.own.loss is None:
            return self.task.loss(output, targets)
        value = self.own.loss(output, targets)
        if not isinstance(value, Tensor) or value.dim():
            raise RunError(f"own loss: must give a scalar tensor, gave {_described(value)}")
        return value

    def distillation_loss(self, output: Tensor, teacher_output: Tensor, temperature: float) -> Tensor:
        return self.task.distillation_loss(output, teacher_output, temperature)

    def answers(self, output: Tensor) -> Tensor:
        return self.task.answers(output)

    def score_answers(self, answers: Tensor, targets: Tensor) -> Tensor:
        if self.own.metric is None:
            return self.task.score_answers(answers, targets)
        scores = self.own.metric(answers, targets)
        if not isinstance(scores, Tensor) or scores.shape != targets.shape[:1] or not scores.isfinite().all():
            what = f"must give a finite score for each of {len(targets)} images, gave {_described(scores)}"
            raise RunError(f"own metric: {what}")
        return scores.double()

    def interval(self, scores: Tensor) -> tuple[float, float]:
        return _mean_interval(scores) if self.own.metric else self.task.interval(scores)

    def constant(self, targets: Tensor) -> Tensor:
        return self.task.constant(targets)

    def spread(self, answers: Tensor, targets: Tensor) -> float:
        return self.task.spread(answers, targets)

    def details(self, outputs: Tensor, targets: Tensor) -> dict[str, Any]:
        return self.task.details(outputs, targets)


def _described(value: object) -> str:
    return f"{value.dtype} {list(value.shape)}" if isinstance(value, Tensor) else type(value).__name__


def _mean_interval(values: Tensor) -> tuple[float, float]:
    """Return the 95 % interval of a mean, by bootstrap, of one value [N] an image."""
    numbers = values.cpu().numpy()
    low, high = middle_95(numbers[index].mean() for index in resampled_indices(len(numbers)))
    return low, high


def task_of(spec: Spec) -> Task:
    """Return the task of a network's spec, with the functions of the run that is going on."""
    task: Task = Classification()
    if spec.task == "regression":
        task = Regression(spec.labels, spec.scale or Scale.plain(len(spec.labels)))
    own = own_functions()
    return OwnTask(task, own) if own.loss or own.metric else task


def scale_of(targets: Tensor) -> Scale:
    """Return mean and deviation of training targets [N, T], to six digits; a deviation of 1 for a constant target."""
    std, mean = torch.std_mean(targets.double(), 0)
    spread = [float(f"{value:.6g}") or 1.0 for value in std.tolist()]
    return Scale(mean=tuple(float(f"{value:.6g}") for value in mean.tolist()), std=tuple(spread))


def _r2(predicted: np.ndarray[Any, Any], true: np.ndarray[Any, Any]) -> float:
    """Return the fraction of variance explained, the mean over targets, of [N, T] each; 0 for a constant target."""
    residual, total = ((predicted - true) ** 2).sum(0), ((true - true.mean(0)) ** 2).sum(0)
    return float(np.where(total > 0, 1 - residual / np.where(total > 0, total, 1), 0).mean())
