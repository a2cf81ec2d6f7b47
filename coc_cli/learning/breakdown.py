"""Where answers are right and where they are wrong: class by class, or number by number."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

MOST_IN_TABLE = 30  # classes of which every pair is counted
MOST_CONFUSED = 20  # pairs of more classes
MOST_POINTS = 500  # of a target


@dataclass(frozen=True)
class ClassBreakdown:
    """A class on a split; the accuracy is None where the split has no image of it."""

    label: str
    n: int
    accuracy: float | None


@dataclass(frozen=True)
class ConfusedPair:
    """Images of one class that were taken for another."""

    label: str
    answer: str
    n: int


@dataclass(frozen=True)
class TargetBreakdown:
    """True and predicted numbers of a target, of some images that lie evenly over the split."""

    label: str
    points: tuple[tuple[float, float], ...]


@dataclass(frozen=True)
class Breakdown:
    """Answers on a split; of classes the first three, of numbers the last."""

    classes: tuple[ClassBreakdown, ...] = ()
    confused: tuple[ConfusedPair, ...] = ()  # the most frequent first
    confusion: tuple[tuple[int, ...], ...] | None = None  # [true][predicted], of few classes
    targets: tuple[TargetBreakdown, ...] = ()


def breakdown(answers: Tensor, targets: Tensor, labels: tuple[str, ...]) -> Breakdown:
    """Return where answers are right and wrong.

    Args:
        answers: Classes int64 [N], or numbers [N, T] in the targets' own units.
        targets: The same of the truth.
        labels: Of all classes, or of the T targets.
    """
    answers, targets = answers.cpu(), targets.cpu()
    if targets.ndim == 1:
        return _of_classes(answers, targets, labels)
    chosen = torch.linspace(0, len(targets) - 1, min(len(targets), MOST_POINTS)).long()
    pairs = torch.stack([targets, answers], 2)[chosen].double()  # [M, T, 2]
    by_target = (
        TargetBreakdown(label, tuple((_short(true), _short(given)) for true, given in pairs[:, index].tolist()))
        for index, label in enumerate(labels)
    )
    return Breakdown(targets=tuple(by_target))


def _of_classes(answers: Tensor, targets: Tensor, labels: tuple[str, ...]) -> Breakdown:
    size = len(labels)
    pairs, counts = (targets * size + answers).unique(return_counts=True)
    right = torch.bincount(targets[answers == targets], minlength=size)
    total = torch.bincount(targets, minlength=size)
    classes = tuple(
        ClassBreakdown(label, n, hits / n if n else None)
        for label, n, hits in zip(labels, total.tolist(), right.tolist(), strict=True)
    )
    counted = {(pair // size, pair % size): n for pair, n in zip(pairs.tolist(), counts.tolist(), strict=True)}
    wrong = sorted(((n, true, given) for (true, given), n in counted.items() if true != given), reverse=True)
    confusion = None
    if size <= MOST_IN_TABLE:
        confusion = tuple(tuple(counted.get((true, given), 0) for given in range(size)) for true in range(size))
    confused = tuple(ConfusedPair(labels[true], labels[given], n) for n, true, given in wrong[:MOST_CONFUSED])
    return Breakdown(classes, confused, confusion)


def _short(value: float) -> float:
    return float(f"{value:.6g}")
