"""Figures of a network's inside: BitOps and bits of its layers before and after, and how its stages were trained."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import zip_longest

from coc_cli.report import wording
from coc_cli.report.charts.figure import Figure, Key, Table, kind
from coc_cli.report.charts.svg import WIDTH, Axis, Drawing, around, decades
from coc_cli.report.model import EpochView, LayerView, Run, StageView

ROW = 17.0
NAME_END = 112.0
BITS_START = WIDTH - 68
LONGEST_NAME = 18  # characters
TALL = 40  # rows from which a figure scrolls
MOST_POINTS = 120  # of a curve

Row = tuple[LayerView | None, LayerView | None]


def layers(before: StageView, after: StageView) -> tuple[Figure, ...]:
    """Draw BitOps and bits of each layer before and after: by name, or two lists where the names are others."""
    rows = matched(before.layers, after.layers)
    if not rows:
        return ()
    common = sum(None not in row for row in rows)
    smaller = min(len(before.layers), len(after.layers))
    if common * 2 >= smaller:
        return (_layer_figure("Layers before and after", rows, f"{before.name} and {after.name}"),)
    return (
        _layer_figure(f"Layers before: {before.name}", [(layer, None) for layer in before.layers], before.name),
        _layer_figure(f"Layers after: {after.name}", [(None, layer) for layer in after.layers], after.name),
    )


def matched(before: Sequence[LayerView], after: Sequence[LayerView]) -> list[Row]:
    """Return layers side by side by name; what is new stands behind what it follows."""
    old = {layer.name: layer for layer in before}
    new = {layer.name: layer for layer in after}
    rows: list[Row] = [(layer, new.get(layer.name)) for layer in before]
    follows = ""
    for layer in after:
        if layer.name not in old:
            names = [(b or a).name if (b or a) else "" for b, a in rows]  # type: ignore[union-attr]
            place = names.index(follows) + 1 if follows in names else 0
            rows.insert(place, (None, layer))
        follows = layer.name
    return rows


def _layer_figure(title: str, rows: Sequence[Row], of: str) -> Figure:
    drawing = Drawing(height=len(rows) * ROW + 36)
    values = [one.bitops for row in rows for one in row if one and one.bitops]
    x = decades(values, NAME_END + 8, BITS_START - 8)
    bottom = len(rows) * ROW + 14
    drawing.columns(x, 12, bottom, wording.counted, about=3)
    drawing.text("tick", BITS_START, 10, "bits w·a")
    for index, (before, after) in enumerate(rows):
        _layer_row(drawing, x, 14 + ROW * (index + 0.5), before, after)
    table = tuple(_layer_cells(before, after) for before, after in rows)
    widest = max((row for row in rows if row[0] and row[0].bitops), key=lambda r: r[0].bitops or 0, default=None)  # type: ignore[union-attr]
    summary = f" The heaviest before: {', '.join(_layer_cells(*widest))}." if widest else ""
    return Figure(
        title=title,
        svg=drawing.svg(
            f"BitOps of {len(rows)} layers of {of}, logarithmic.{summary} All numbers are in the table below."
        ),
        caption="BitOps of an image that runs the layer (logarithmic), and the bits of its weights and activations."
        " A ring alone is a layer that is gone, a dot alone one that is new.",
        legend=(Key("s7", "○", "before"), Key("s1", "●", "after")),
        table=Table(("layer", "BitOps before", "after", "bits w·a before", "after"), table),
        is_tall=len(rows) > TALL,
    )


def _layer_row(drawing: Drawing, x: Axis, y: float, before: LayerView | None, after: LayerView | None) -> None:
    one = after or before
    assert one
    cells = _layer_cells(before, after)
    tip = f"{cells[0]}: {cells[1]} to {cells[2]} BitOps, bits {cells[3]} to {cells[4]}"
    drawing.text("tick end", NAME_END, y + 4, wording.fitted(one.name, LONGEST_NAME))
    places = [x(layer.bitops) for layer in (before, after) if layer and layer.bitops]
    if len(places) > 1:
        drawing.line("link", places[0], y, places[1], y)
    if before and before.bitops:
        drawing.mark("ring s7", x(before.bitops), y, size=3.6, tip=tip)
    if after and after.bitops:
        drawing.mark("dot s1", x(after.bitops), y, size=3.6, tip=tip)
    both = [_bits(layer) for layer in (before, after) if layer]
    drawing.text("tick", BITS_START, y + 4, both[0] if len(set(both)) == 1 else " → ".join(both))


def _bits(layer: LayerView | None) -> str:
    return wording.NONE if layer is None else f"{wording.bits(layer.weight_bits)}·{wording.bits(layer.activation_bits)}"


def _layer_cells(before: LayerView | None, after: LayerView | None) -> tuple[str, ...]:
    one = after or before
    assert one
    counts = [wording.counted(layer.bitops if layer else None) for layer in (before, after)]
    return (one.name, *counts, _bits(before), _bits(after))


def training(run: Run) -> Figure | None:
    """Draw loss and validation metric over the epochs of all stages, one behind the other."""
    stages = [stage for stage in run.stages if stage.epochs]
    if not stages:
        return None
    rows = tuple(_training_cells(run.metric, stage) for stage in stages)
    summary = "; ".join(f"{name}: {n} epochs, loss {a} to {b}, {run.metric} {c} to {d}" for name, n, a, b, c, d in rows)
    return Figure(
        title="Training",
        svg=_training(run.metric, stages).svg(f"Validation {run.metric} and training loss by epoch. {summary}."),
        caption=f"Validation {run.metric} (with exits, the mean over them) above, training loss below, epoch by epoch;"
        " losses of different stages are different sums.",
        table=Table(("stage", "epochs", "first loss", "last loss", f"first {run.metric}", f"last {run.metric}"), rows),
    )


def _training_cells(metric: str, stage: StageView) -> tuple[str, ...]:
    ends = (stage.epochs[0], stage.epochs[-1])
    losses = (wording.NONE if end.loss is None else f"{end.loss:.4g}" for end in ends)
    return (stage.title, str(len(stage.epochs)), *losses, *(wording.value(metric, end.metric) for end in ends))


def _training(metric: str, stages: Sequence[StageView]) -> Drawing:
    drawing = Drawing(height=290)
    epochs = [epoch for stage in stages for epoch in stage.epochs]
    top = around([one.metric for one in epochs if one.metric is not None], 128, 26)
    below = decades([one.loss for one in epochs if one.loss is not None], 262, 160)
    left, right = 46.0, WIDTH - 10
    drawing.text("tick end", right, 140, f"validation {metric}")
    drawing.text("tick", left, 155, "training loss, logarithmic")
    drawing.rows(top, left, right, lambda v: f"{v * 100:.3g}%" if metric == "accuracy" else f"{v:.3g}", about=3)
    drawing.rows(below, left, right, lambda v: f"{v:g}")
    x, done = Axis(0, len(epochs), left, right), 0
    for place, stage in enumerate(stages):
        title = wording.fitted(stage.title, LONGEST_NAME)
        drawing.line("edge", x(done), 16, x(done), 262)
        drawing.text("tick", min(x(done) + 3, right - 6.2 * len(title)), 10 if place % 2 == 0 else 21, title)
        _stage_curves(drawing, x, top, below, stage, done)
        done += len(stage.epochs)
    drawing.text("tick end", right, 280, f"{len(epochs)} epochs")
    return drawing


def _stage_curves(drawing: Drawing, x: Axis, top: Axis, below: Axis, stage: StageView, done: int) -> None:
    chosen = _thinned(stage.epochs)
    for scale, values in ((top, [e.metric for _, e in chosen]), (below, [e.loss for _, e in chosen])):
        places = [(x(done + i + 0.5), scale(v)) for (i, _), v in zip_longest(chosen, values) if v is not None]
        if len(places) == 1:
            drawing.mark(f"dot {kind(stage.name)}", *places[0], size=2)
        drawing.path(f"curve {kind(stage.name)}", places)


def _thinned(epochs: Sequence[EpochView]) -> list[tuple[int, EpochView]]:
    step = max(1, len(epochs) // MOST_POINTS)
    numbered = list(enumerate(epochs))
    return [*numbered[::step], *([numbered[-1]] if (len(epochs) - 1) % step else [])]
