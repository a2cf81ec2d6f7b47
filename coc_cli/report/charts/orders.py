"""Figures of order.json: effects of pairs, the curves of both orders, what is decided, and the ranking."""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Sequence

from coc_cli.report import wording
from coc_cli.report.charts.figure import SHAPES, Figure, Key, Table
from coc_cli.report.charts.svg import WIDTH, Axis, Drawing, around
from coc_cli.report.schema.order import CurveEntry, EffectEntry, InsertionEntry, OrderReport, PairEntry

LEFT, RIGHT = 46.0, WIDTH - 16
ROW = 34.0
DECIDED = {"before": "{} first", "after": "{} first", "described": "described only"}
HEAD = ("pair", "effect", "95 %", "p (Holm)", "decided")
BOTH = (("s1", 0), ("s2", 1))  # the first stage before the second, and behind it
MOST_RANKED = 24


def labels(report: OrderReport) -> dict[str, str]:
    """Return what stages are called: distillation has two meanings."""
    return {one.stage: one.label for one in report.strengths}


def decision(pair: PairEntry, report: OrderReport) -> str:
    """Say what is decided of a pair."""
    first = labels(report)[pair.edge[0] if pair.edge else pair.first]
    text = DECIDED.get(pair.decision, pair.decision).format(first)
    return text + (", turned round" if getattr(pair, "turned", False) else "")


def named(pair: PairEntry, report: OrderReport) -> str:
    """Name a pair, with the third stage where there is one."""
    called, third = labels(report), ""
    if isinstance(pair, InsertionEntry):
        third = f" ({called[pair.third]} {pair.place})"
    return f"{called[pair.first]}, {called[pair.second]}{third}"


def cells(one: EffectEntry) -> tuple[str, str, str]:
    """Return an effect, its interval and its corrected p value as texts."""
    interval = wording.NONE if one.ci95 is None else f"{one.ci95[0]:+.2f} to {one.ci95[1]:+.2f}"
    return f"{one.mean:+.2f}", interval, wording.NONE if one.p_holm is None else f"{one.p_holm:.3f}"


def row(pair: PairEntry, report: OrderReport) -> tuple[str, ...]:
    """Return what `HEAD` names, of a pair."""
    return (named(pair, report), *cells(pair), decision(pair, report))


def effects(title: str, pairs: Sequence[PairEntry], report: OrderReport) -> Figure:
    """Draw by how much the first of each pair gains by being first."""
    bottom = len(pairs) * ROW + 6
    drawing = Drawing(height=bottom + 34)
    x = around([0.0, *(end for one in pairs for end in one.ci95 or (one.mean,))], 16, RIGHT)
    drawing.columns(x, 2, bottom, lambda value: f"{value:+.3g}", about=4)
    drawing.line("edge", x(0), 2, x(0), bottom)
    drawing.text("tick end", RIGHT, bottom + 30, f"the first stage's gain by being first, {report.unit}")
    for place, one in enumerate(pairs):
        top = place * ROW + 2
        drawing.text("name", 12, top + 12, wording.fitted(named(one, report), 34))
        drawing.text("number end", RIGHT, top + 12, decision(one, report))
        kind = "s1" if one.decision in ("before", "after") else "ink"
        for value in one.by_seed:
            drawing.mark("dot s7", x(value), top + 22, size=1.6, tip=f"{value:+.2f}")
        if one.ci95:
            drawing.line(f"whisker {kind}", x(one.ci95[0]), top + 22, x(one.ci95[1]), top + 22)
        drawing.mark(f"dot {kind}", x(one.mean), top + 22, tip=" ".join(cells(one)))
    words = "; ".join(f"{named(one, report)}: {cells(one)[0]}, {decision(one, report)}" for one in pairs)
    rows = tuple(row(one, report) for one in pairs)
    return Figure(
        title=title,
        svg=drawing.svg(f"Effect of each pair with its interval: {words}."),
        caption=f"Mean over {len(report.seeds)} seeds with 95 % t intervals, a dot for each seed. The area between the"
        " curves of both orders by their common range of log BitOps; p values are corrected for all pairs here (Holm).",
        table=Table(HEAD, rows),
    )


def curves(pair: PairEntry, report: OrderReport) -> Figure:
    """Draw the score of both orders of a pair against the ratio of BitOps: seeds pale, their mean strong."""
    orders = [pair.first, pair.second], [pair.second, pair.first]
    own = [[curve for curve in report.curves if curve.order == order] for order in orders]
    points = [point for every in own for curve in every for point in curve.points]
    drawing, bottom = Drawing(height=210.0), 168.0
    ratios = [ratio for ratio, _ in points]
    x = Axis(min(ratios) * 0.95, max(ratios) * 1.05, LEFT, RIGHT, log=True)
    y = around([score for _, score in points], bottom, 14)
    drawing.rows(y, LEFT, RIGHT, lambda value: f"{value:.3g}")
    drawing.columns(x, 14, bottom, wording.times)
    drawing.text("tick end", RIGHT, 204, "ratio of BitOps (strict), logarithmic")
    drawing.text("tick", LEFT, 9, f"validation, {report.unit}")
    for every, (kind, shape) in zip(own, BOTH, strict=True):
        for curve in every:
            drawing.path(f"trail {kind}", [(x(ratio), y(score)) for ratio, score in curve.points])
        middle = list(_mean_curve(every))
        drawing.path(f"curve {kind}", [(x(ratio), y(score)) for ratio, score in middle])
        for ratio, score in middle:
            drawing.mark(f"dot {kind}", x(ratio), y(score), shape=shape, tip=f"{ratio:.3g}x, {score:.2f}")
    legend = tuple(
        Key(kind, SHAPES[shape], " then ".join(order)) for order, (kind, shape) in zip(orders, BOTH, strict=True)
    )
    return Figure(
        title=f"{pair.first} and {pair.second}",
        svg=drawing.svg(f"Score of both orders of {pair.first} and {pair.second} against the ratio of BitOps."),
        caption=f"{decision(pair, report)}: {cells(pair)[0]} {report.unit} for {pair.first} first.",
        legend=legend,
    )


def _mean_curve(every: Sequence[CurveEntry]) -> Iterator[tuple[float, float]]:
    """Yield the mean over seeds of each strength's point, ratios as geometric means."""
    for points in zip(*(curve.points for curve in every), strict=True):
        yield statistics.geometric_mean(ratio for ratio, _ in points), statistics.mean(score for _, score in points)


def ranking(report: OrderReport) -> Table | None:
    """Return all orders, the best first."""
    rows = tuple(
        (
            ", ".join(rank.order),
            f"{rank.score:.2f}",
            wording.NONE if rank.ci95 is None else f"{rank.ci95[0]:.2f} to {rank.ci95[1]:.2f}",
            wording.NONE if rank.behind_best is None else f"{rank.behind_best.mean:+.2f}",
            "yes" if rank.is_as_good else "no",
        )
        for rank in report.ranking[:MOST_RANKED]
    )
    head = ("order", f"score, {report.unit}", "95 %", "behind the best", "cannot be told from the best")
    return Table(head, rows) if rows else None


def graph(report: OrderReport) -> Figure:
    """Draw the stages in a row, and an arrow for each pair: strong where it is decided, with its effect."""
    stages = report.order or [one.stage for one in report.strengths]
    places = {name: 40 + place * (WIDTH - 80) / max(1, len(stages) - 1) for place, name in enumerate(stages)}
    drawing, middle = Drawing(height=190.0), 105.0
    for pair in report.pairs:
        first, second = pair.edge or (pair.first, pair.second)
        start, end = places[first], places[second]
        lift = 18 + 20 * abs(stages.index(second) - stages.index(first))
        side = -1 if start < end else 1
        bow = [(start + (end - start) * t / 12, middle + side * lift * 4 * t * (12 - t) / 144) for t in range(13)]
        drawing.path("curve s1" if pair.edge else "trail s7", bow, tip=" ".join(row(pair, report)))
        if pair.edge:
            drawing.mark("dot s1", *bow[9], shape=2, size=3.5)
            drawing.text("number middle", bow[6][0], bow[6][1] - 4, f"{abs(pair.mean):.2f}")
    for name, place in places.items():
        drawing.mark("dot ink", place, middle, size=5)
        drawing.text("name middle", place, middle + 22, name)
    open_pairs = ", ".join(" and ".join(tie) for tie in report.ties) or "none"
    return Figure(
        title="What is decided",
        svg=drawing.svg(f"Stages in order: {', '.join(stages)}. Not decided: {open_pairs}."),
        caption=f"Blue pairs are decided, with the effect in {report.unit}, marked towards the later stage."
        f" Not decided by any chain of verdicts: {open_pairs}.",
    )
