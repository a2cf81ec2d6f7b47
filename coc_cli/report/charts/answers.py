"""Figures of answers: which classes are taken for which, and predicted numbers against true ones."""

from __future__ import annotations

from coc_cli.report import wording
from coc_cli.report.answers import AnswersView, ClassView, TargetView
from coc_cli.report.charts.figure import Figure, Table
from coc_cli.report.charts.svg import WIDTH, Drawing, around

LEFT, RIGHT = 96.0, WIDTH - 8
LONGEST_NAME = 12  # characters beside a row
MOST_ROWS = 30  # of classes in a table
LEAST_SHARE = 0.005  # of a class, below which a cell stays empty
MOST_TARGETS = 6


def answers(found: AnswersView | None) -> tuple[Figure, ...]:
    """Draw what is known of the answers on test: nothing, a confusion table, or a scatter of each target."""
    if found is None:
        return ()
    if found.targets:
        return tuple(_scatter(found.stage, target) for target in found.targets[:MOST_TARGETS] if target.points)
    return (_confusion(found),) if found.classes else ()


def _confusion(found: AnswersView) -> Figure:
    """Draw images by class and answer; of many classes each class's accuracy alone."""
    worst = sorted((one for one in found.classes if one.accuracy is not None), key=lambda one: one.accuracy or 0.0)
    shown = found.classes if len(found.classes) <= MOST_ROWS else worst[:MOST_ROWS]
    rows = tuple((one.label, f"{one.n:,}", wording.percent(one.accuracy), _taken(found, one)) for one in shown)
    least = worst[0] if worst else None
    summary = f"Accuracy by class; the least is {_named(least)}." if least else "No class has an image."
    confusions = "; ".join(f"{one.n} of '{one.label}' taken for '{one.answer}'" for one in found.confused[:3])
    drawing = _matrix(found) if found.confusion is not None else _bars(worst[:MOST_ROWS])
    return Figure(
        title=f"Answers by class, {found.stage}",
        svg=drawing.svg(summary),
        caption=f"{summary} Most often confused: {confusions or 'none'}. Measured on the test images"
        + ("; rows are classes, columns answers in the same order." if found.confusion is not None else "."),
        table=Table(("class", "images", "accuracy", "most often taken for"), rows),
        is_tall=len(shown) > MOST_ROWS // 2,
    )


def _named(one: ClassView) -> str:
    return f"{wording.percent(one.accuracy)}, of '{one.label}'"


def _taken(found: AnswersView, one: ClassView) -> str:
    pairs = [pair for pair in found.confused if pair.label == one.label]
    return f"{pairs[0].answer} ({pairs[0].n})" if pairs else wording.NONE


def _matrix(found: AnswersView) -> Drawing:
    confusion = found.confusion or ()
    size = len(confusion)
    cell = (RIGHT - LEFT) / size
    drawing = Drawing(height=size * cell + 16)
    for row, (one, counts) in enumerate(zip(found.classes, confusion, strict=True)):
        top, total = row * cell + 4, sum(counts) or 1
        drawing.text("tick end", LEFT - 5, top + cell / 2 + 4, wording.fitted(one.label, LONGEST_NAME))
        for column, n in enumerate(counts):
            if n / total < LEAST_SHARE:
                continue
            tip = f"'{one.label}' answered '{found.classes[column].label}': {n} of {total}"
            kind = "bar s1" if row == column else "bar s2"
            x, opacity = LEFT + column * cell, f"{max(0.12, n / total):.2f}"
            drawing.add("rect", kind=kind, x=x, y=top, width=cell - 1, height=cell - 1, opacity=opacity, tip=tip)
    return drawing


def _bars(worst: list[ClassView]) -> Drawing:
    drawing = Drawing(height=len(worst) * 16.0 + 12)
    for row, one in enumerate(worst):
        top = row * 16.0 + 4
        drawing.text("tick end", LEFT - 5, top + 11, wording.fitted(one.label, LONGEST_NAME))
        drawing.add("rect", kind="left", x=LEFT, y=top + 2, width=RIGHT - LEFT, height=10, rx=2)
        width = (RIGHT - LEFT) * (one.accuracy or 0.0)
        drawing.add("rect", kind="bar s1", x=LEFT, y=top + 2, width=width, height=10, rx=1, tip=_named(one))
    return drawing


def _scatter(stage: str, target: TargetView) -> Figure:
    """Draw predicted against true numbers; on the diagonal they are equal."""
    bottom, left = 228.0, 46.0
    drawing = Drawing(height=270.0)
    true, given = [point[0] for point in target.points], [point[1] for point in target.points]
    x, y = around(true, left, RIGHT), around([*given, min(true), max(true)], bottom, 14)
    drawing.rows(y, left, RIGHT, lambda v: f"{v:.4g}")
    drawing.columns(x, 14, bottom, lambda v: f"{v:.4g}")
    drawing.path("front", [(x(min(true)), y(min(true))), (x(max(true)), y(max(true)))])
    for one, other in target.points:
        drawing.mark("dot s1", x(one), y(other), size=2.0, tip=f"true {one:.4g}, predicted {other:.4g}")
    drawing.text("tick end", RIGHT, 264.0, "true")
    drawing.text("tick", left, 9, "predicted")
    error = sum(abs(one - other) for one, other in target.points) / len(target.points)
    summary = f"Predicted against true {target.label} of {len(target.points)} test images; mean error {error:.4g}."
    return Figure(
        title=f"{target.label}: predicted against true, {stage}",
        svg=drawing.svg(summary),
        caption=f"{summary} The dashed line is a perfect answer.",
    )
