"""A network whose classes stand in another order than the data's, noticed by what it answers."""

from __future__ import annotations

from dataclasses import dataclass

from coc_cli.report.schema.answers import AnswersEntry

LEAST_GAIN = 0.2  # of accuracy, that another order must bring


@dataclass(frozen=True)
class OtherOrder:
    """The order in which classes fit answers best."""

    accuracy: float
    renamed: tuple[tuple[str, str], ...]  # class, and the answer that stands for it


def renamed(answers: AnswersEntry) -> OtherOrder | None:
    """Return in which order the classes fit much better, if each class is mostly answered as one other."""
    if answers.confusion is None:
        return None
    best = [max(range(len(row)), key=row.__getitem__) for row in answers.confusion]
    total = sum(map(sum, answers.confusion))
    if len(set(best)) != len(best) or not total:
        return None
    here = sum(row[place] for place, row in enumerate(answers.confusion)) / total
    there = sum(row[place] for place, row in zip(best, answers.confusion, strict=True)) / total
    labels = [one.label for one in answers.classes]
    pairs = tuple((labels[place], labels[answer]) for place, answer in enumerate(best) if place != answer)
    return OtherOrder(there, pairs) if there - here >= LEAST_GAIN else None
