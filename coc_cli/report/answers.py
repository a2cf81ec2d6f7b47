"""Where a network's answers are right and wrong, as a report shows it; read from a stage's result.json."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError

from coc_cli.report.schema.answers import AnswersEntry
from coc_cli.units import printable


@dataclass(frozen=True)
class ClassView:
    """A class on the test images; the accuracy is None where there is no image of it."""

    label: str
    n: int
    accuracy: float | None


@dataclass(frozen=True)
class ConfusedView:
    """Test images of one class that were taken for another."""

    label: str
    answer: str
    n: int


@dataclass(frozen=True)
class TargetView:
    """True and predicted numbers of a target."""

    label: str
    points: tuple[tuple[float, float], ...]


@dataclass(frozen=True)
class AnswersView:
    """A stage's answers on the test images: of classes, or of numbers."""

    stage: str
    classes: tuple[ClassView, ...]
    confused: tuple[ConfusedView, ...]
    confusion: tuple[tuple[int, ...], ...] | None
    targets: tuple[TargetView, ...]


def answers_view(stage: str, content: Any) -> AnswersView | None:
    """Return what a result.json holds of answers; None where it holds nothing that can be shown."""
    try:
        entry = AnswersEntry.model_validate(content)
    except ValidationError:
        return None
    size = len(entry.classes)
    if entry.confusion is not None and [len(row) for row in entry.confusion] != [size] * size:
        return None
    return AnswersView(
        stage,
        tuple(ClassView(printable(one.label), one.n, one.accuracy) for one in entry.classes),
        tuple(ConfusedView(printable(one.label), printable(one.answer), one.n) for one in entry.confused),
        None if entry.confusion is None else tuple(map(tuple, entry.confusion)),
        tuple(TargetView(printable(one.label), tuple(one.points)) for one in entry.targets),
    )
