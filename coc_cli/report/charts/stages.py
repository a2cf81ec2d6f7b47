"""Figures of a run's stages: BitOps by stage, the metric against BitOps, exits, layers and training."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

from coc_cli.report import wording
from coc_cli.report.charts.figure import SHAPES, Figure, Key, Table, colour, kind
from coc_cli.report.charts.svg import WIDTH, Axis, Drawing, Names, around, decades
from coc_cli.report.comparison import front, unlike
from coc_cli.report.model import ExitView, Run, StageView

LEFT, RIGHT = 46.0, WIDTH - 16
ROW = 38.0
LONGEST_NAME = 24  # characters
MOST_NAMES = 12  # of exits, that fit below the axis


def waterfall(run: Run) -> Figure | None:
    """Draw what each stage took off the BitOps, from the one before, on a logarithmic axis."""
    stages = [stage for stage in run.stages if stage.bitops]
    if not stages:
        return None
    drawing = Drawing(height=len(stages) * ROW + 34)
    x = decades([stage.bitops or 1.0 for stage in stages], 12, RIGHT - 4)
    bottom = len(stages) * ROW + 12
    drawing.columns(x, 4, bottom, wording.counted)
    for row, (before, stage) in enumerate(zip([None, *stages], stages, strict=False)):
        _step(drawing, x, row * ROW + 8, before, stage)
    rows = tuple(
        (s.title, wording.counted(s.bitops), wording.times(s.factor), wording.times(s.bitops_ratio)) for s in stages
    )
    summary = "; ".join(
        f"{name} {bitops}" + (f", factor {factor}" if factor != wording.NONE else "")
        for name, bitops, factor, _ in rows
    )
    return Figure(
        title="BitOps by stage",
        svg=drawing.svg(f"BitOps of one image after each stage, logarithmic: {summary}."),
        caption="What each stage takes off, on a logarithmic axis; the factors multiply to the total. Counted from"
        " layers, bits and the measured exit rates. Pale: what is left.",
        table=Table(("stage", "BitOps", "factor", "ratio (strict)"), rows),
    )


def _step(drawing: Drawing, x: Axis, top: float, before: StageView | None, stage: StageView) -> None:
    end = x(stage.bitops or 1.0)
    start = x(before.bitops or 1.0) if before else end
    drawing.text("name", 12, top + 9, wording.fitted(stage.title, LONGEST_NAME))
    drawing.text("number end", RIGHT - 4, top + 9, f"{_factor(stage.factor)}{wording.counted(stage.bitops)}")
    left, right = min(start, end), max(start, end)
    drawing.add("rect", kind="left", x=x.start, y=top + 15, width=end - x.start, height=10, rx=2)
    tip = f"{stage.title}: {wording.counted(stage.bitops)} BitOps"
    drawing.add(
        "rect", kind=f"bar {kind(stage.name)}", x=left - 1, y=top + 15, width=right - left + 2, height=10, rx=1, tip=tip
    )


def _factor(factor: float | None) -> str:
    if not factor:
        return ""
    return f"÷{factor:.3g} → " if factor >= 1 else f"\u00d7{1 / factor:.3g} → "


Placed = tuple[int, Run, list[StageView]]  # a run's place, and its stages that can be drawn


def trade_off(runs: Sequence[Run]) -> Figure | None:
    """Draw the metric against BitOps of all stages of all runs, with the Pareto front."""
    metric = runs[0].metric
    placed_stages = [
        (index, run, [stage for stage in run.stages if stage.bitops and stage.metric_value is not None])
        for index, run in enumerate(runs)
        if not unlike(run, runs[0])
    ]
    left_out = [run.label for run in runs if unlike(run, runs[0])]
    placed_stages = [placed for placed in placed_stages if placed[2]]
    if not placed_stages:
        return None
    best = front(runs)
    is_alone = len(runs) == 1
    return Figure(
        title=f"{wording.titled(metric)} against BitOps",
        svg=_scatter(metric, placed_stages, best, is_alone=is_alone).svg(_in_words(metric, placed_stages, len(best))),
        caption="Every stage on the test images, 95 % intervals as bars;"
        f" left and {'up' if runs[0].sign > 0 else 'down'} is better. The dashed line is the Pareto front: to a stage"
        " on it, no other is better in both."
        + (f" Not comparable, and left out: {', '.join(left_out)}." if left_out else ""),
        legend=tuple(Key(kind(s.name), "●", s.title) for s in placed_stages[0][2])
        if is_alone
        else _run_keys(placed_stages),
        table=_scatter_table(metric, placed_stages, best, is_alone=is_alone),
    )


def _scatter(
    metric: str, placed_stages: list[Placed], best: Sequence[tuple[Run, StageView]], *, is_alone: bool
) -> Drawing:
    height, bottom = 270.0, 228.0
    drawing = Drawing(height=height)
    every = [stage for _, _, stages in placed_stages for stage in stages]
    ends = [end for stage in every for end in stage.metric_ci95 or (stage.metric_value or 0.0,)]
    x, y = decades([s.bitops or 1.0 for s in every], LEFT, RIGHT), around(ends, bottom, 14)
    drawing.rows(y, LEFT, RIGHT, lambda v: _short(metric, v))
    drawing.columns(x, 14, bottom, wording.counted)
    drawing.text("tick end", RIGHT, height - 6, "BitOps of one image, logarithmic")
    drawing.text("tick", LEFT, 9, metric)
    drawing.path("front", _stairs([(x(s.bitops or 1.0), y(s.metric_value or 0.0)) for _, s in best]))
    names = Names(drawing)
    for index, run, stages in placed_stages:
        _trail(drawing, x, y, run, None if is_alone else index, stages, names)
    return drawing


def _scatter_table(
    metric: str, placed_stages: list[Placed], best: Sequence[tuple[Run, StageView]], *, is_alone: bool
) -> Table:
    on_front = {(run.label, stage.index) for run, stage in best}
    rows = tuple(
        (
            stage.title if is_alone else f"{run.label}: {stage.title}",
            wording.value(metric, stage.metric_value),
            wording.interval(metric, stage.metric_ci95),
            wording.counted(stage.bitops),
            "yes" if (run.label, stage.index) in on_front else "no",
        )
        for _, run, stages in placed_stages
        for stage in stages
    )
    return Table(("stage", metric, "95 %", "BitOps", "on the front"), rows)


def _run_keys(placed_stages: list[Placed]) -> tuple[Key, ...]:
    return tuple(
        Key(colour(index), SHAPES[index // 8 % 4], f"{index + 1} {run.label}") for index, run, _ in placed_stages
    )


def _trail(
    drawing: Drawing, x: Axis, y: Axis, run: Run, index: int | None, stages: list[StageView], names: Names
) -> None:
    places = [(x(s.bitops or 1.0), y(s.metric_value or 0.0)) for s in stages]
    drawing.path(f"trail {colour(index) if index is not None else 's7'}", places)
    for stage, (px, py) in zip(stages, places, strict=True):
        look = kind(stage.name) if index is None else colour(index)
        if stage.metric_ci95 and (index is None or stage is stages[-1]):
            drawing.line(f"whisker {look}", px, y(stage.metric_ci95[0]), px, y(stage.metric_ci95[1]))
        value, shape = wording.value(run.metric, stage.metric_value), 0 if index is None else index // 8
        tip = f"{run.label}, {stage.title}: {value}, {wording.counted(stage.bitops)} BitOps"
        size = 4.5 if index is None or stage is stages[-1] else 2.5
        drawing.mark(f"dot {look}", px, py, shape=shape, size=size, tip=tip)
        if index is None:
            names.put(px, py, str(stage.index))
        elif stage is stages[-1]:
            names.put(px, py, str(index + 1))


def _stairs(points: list[tuple[float, float]]) -> list[tuple[float, float]]:
    """Return the line along a front: what is reached with so many BitOps stays reached with more."""
    corners = [corner for (_, y), (x, y2) in pairwise(points) for corner in ((x, y), (x, y2))]
    return [*points[:1], *corners, *([(RIGHT, points[-1][1])] if points else [])]


def _in_words(metric: str, placed_stages: list[Placed], count: int) -> str:
    summary = "; ".join(
        f"{run.label}: {wording.value(metric, stages[0].metric_value)} at {wording.counted(stages[0].bitops)} to"
        f" {wording.value(metric, stages[-1].metric_value)} at {wording.counted(stages[-1].bitops)}"
        for _, run, stages in placed_stages
    )
    return f"{metric} against BitOps, from baseline to result. {summary}. {count} stages are on the Pareto front."


def _short(metric: str, value: float) -> str:
    """Return a tick of a metric."""
    return f"{value * 100:.4g}%" if metric == "accuracy" else f"{value:.4g}"


def exits(run: Run, stage: StageView) -> Figure | None:
    """Draw where the test images leave, and how good the answers are there."""
    if not stage.exits:
        return None
    rows = tuple(
        (
            _exit_name(one, stage),
            wording.percent(one.share),
            wording.value(run.metric, one.metric_value),
            wording.value(run.metric, one.metric_all),
        )
        for one in stage.exits
    )
    summary = "; ".join(
        f"{name}: {rate} leave, {run.metric} {there}" for name, rate, there, _ in rows if rate != "0.0%"
    )
    return Figure(
        title="Exits",
        svg=_exits(run, stage).svg(f"Share of the test images and {run.metric} by exit. {summary}."),
        caption=f"Where the images leave, measured on {wording.images(stage.n_test)}, and how right they are there.",
        table=Table(("exit", "exit rate", f"{run.metric} of those that leave", "if all left there"), rows),
    )


def _exit_name(one: ExitView, stage: StageView) -> str:
    return "final" if one is stage.exits[-1] else str(one.index)


def _exits(run: Run, stage: StageView) -> Drawing:
    drawing = Drawing(height=270)
    rate = Axis(0, max([e.share or 0.0 for e in stage.exits] + [0.05]) * 1.08, 130, 14)
    values = [v for e in stage.exits for v in (e.metric_value, e.metric_all) if v is not None]
    y = around(values, 238, 170)
    drawing.text("tick", LEFT, 9, "exit rate on the test images")
    drawing.text("tick", LEFT, 155, f"{run.metric}: dot, of those that leave; line, if all left there")
    drawing.rows(rate, LEFT, RIGHT, lambda v: f"{v * 100:.3g}%", about=3)
    drawing.rows(y, LEFT, RIGHT, lambda v: _short(run.metric, v), about=3)
    step, every = (RIGHT - LEFT) / len(stage.exits), math.ceil(len(stage.exits) / MOST_NAMES)
    places = [LEFT + step * (place + 0.5) for place in range(len(stage.exits))]
    for place, (centre, one) in enumerate(zip(places, stage.exits, strict=True)):
        _exit(drawing, centre, step, rate, y, run, stage, one)
        left = len(stage.exits) - 1 - place
        if left == 0 or (place % every == 0 and left > every / 2):
            drawing.text("tick middle", centre, 256, _exit_name(one, stage))
    line = [(x, y(one.metric_all)) for x, one in zip(places, stage.exits, strict=True) if one.metric_all is not None]
    drawing.path("trail s7", line)
    return drawing


def _exit(
    drawing: Drawing, centre: float, step: float, rate: Axis, y: Axis, run: Run, stage: StageView, one: ExitView
) -> None:
    value = wording.value(run.metric, one.metric_value)
    tip = f"exit {_exit_name(one, stage)}: {wording.percent(one.share)}, {run.metric} {value}"
    top, width = rate(one.share or 0.0), step * 0.72
    drawing.add("rect", kind="bar s2", x=centre - width / 2, y=top, width=width, height=130 - top, tip=tip)
    if one.metric_value is not None:
        drawing.mark("dot s2", centre, y(one.metric_value), size=3.5, tip=tip)
