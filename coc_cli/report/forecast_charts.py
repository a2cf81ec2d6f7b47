"""Figures of predictive exit: policies as curves, energy against the metric, and what the prediction is worth."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace

from coc_cli.report import wording
from coc_cli.report.figures import SHAPES, Figure, Key, Table
from coc_cli.report.model import Best, Curve, Forecast, Point, Policy, Worth, sign
from coc_cli.report.svg import WIDTH, Drawing, Scale, around

LEFT, RIGHT, BOTTOM = 46.0, WIDTH - 16, 236.0
COLOURS = {
    "classic": "s7",
    "threshold": "s1",
    "hierarchical": "s3",
    "placement": "s8",
    "patience": "s5",
    "predictive-conv": "s6",
    "predictive": "s2",
    "predictive-commit": "s4",
    "oracle": "ink",
    "oracle-0": "ink",
}
BOUNDS = ("oracle", "oracle-0")
OURS = "predictive"
GOVERNORS = ("race", "constant", "pace", "paper")
WORST = 0.08  # below the final accuracy: operating points that are worse are left out of the drawing
WORST_ERROR = 1.6  # times the final error
VARYING = ("pace", "paper")  # governors that may change the frequency on the way
NO_GAP = "no gap"
LONGEST_NAME = 22  # characters
WORTH_ROW = 48.0
WORTH_KINDS = (("passive", "best passive", "s1", 1), ("ours", "ours", "s2", 0), ("oracle", "oracle", "ink", 2))
WORTH_KEYS = tuple(Key(colour, SHAPES[shape], name) for _, name, colour, shape in WORTH_KINDS)
WORTH_HEAD = ("best passive", "ours", "oracle", "ours saves", "gap closed")


def policies(forecast: Forecast) -> Figure | None:
    """Draw every policy's metric against its MACs."""
    curves = [curve for curve in forecast.curves if curve.points]
    if not curves:
        return None
    metric, worst = forecast.metric, _worst(curves, forecast.metric)
    near = [replace(one, points=tuple(p for p in one.points if _is_near(p, worst, metric))) for one in curves]
    left_out = sum(len(one.points) for one in curves) - sum(len(one.points) for one in near)
    rows = tuple(_curve_row(curve, metric) for curve in curves)
    said = "; ".join(f"{name} {best} at {macs} MACs" for name, _, best, macs, *_ in rows)
    return Figure(
        title=f"Policies: {metric} against MACs",
        svg=_policies(forecast, near).svg(f"{metric} against mean MACs, best point of each policy: {said}."),
        caption=f"Operating points fixed on validation, measured on {wording.images(forecast.n_test)}. Dashed lines are"
        f" bounds that no device can reach. Points of poor {metric} that are left out: {left_out}.",
        legend=_keys((curve.policy for curve in curves), "●"),
        table=Table(("policy", "points", f"best {metric}", "MACs there", "fewest MACs", f"{metric} there"), rows),
    )


def _colour(policy: str) -> str:
    return COLOURS.get(policy, "s7")


def _keys(policies: Iterable[str], shape: str) -> tuple[Key, ...]:
    """Give the legend of policies; those of one colour share an entry."""
    named: dict[tuple[str, str], list[str]] = {}
    for policy in dict.fromkeys(policies):
        named.setdefault((_colour(policy), "┄" if policy in BOUNDS and shape == "●" else shape), []).append(policy)
    return tuple(Key(*look, ", ".join(names)) for look, names in named.items())


def _policies(forecast: Forecast, curves: list[Curve]) -> Drawing:
    points = [point for curve in curves for point in curve.points]
    full = max([forecast.full_macs or 0.0, *(point.macs for point in points)])
    least = min((point.macs for point in points), default=0.0)
    x = Scale(least * 0.95, full * 1.04, LEFT, RIGHT)
    y = around([point.metric_value for point in points], BOTTOM, 14)
    drawing = _framed(forecast.metric, x, y, "mean MACs of an image", wording.counted)
    for curve in sorted(curves, key=lambda one: (one.policy not in BOUNDS, one.policy == OURS)):
        look = f"{_colour(curve.policy)}{' dashed' if curve.policy in BOUNDS else ''}"
        places = [(x(point.macs), y(point.metric_value)) for point in curve.points]
        drawing.path(f"curve {look}", places)
        for (px, py), point in zip(places, curve.points, strict=True):
            value = wording.value(forecast.metric, point.metric_value)
            tip = f"{curve.policy}: {value}, {wording.counted(point.macs)} MACs"
            drawing.mark(f"dot {look}", px, py, size=2.6, tip=tip)
    return drawing


def _framed(metric: str, x: Scale, y: Scale, name: str, show: Callable[[float], str]) -> Drawing:
    drawing = Drawing(height=280)
    drawing.text("tick", LEFT, 9, metric)
    drawing.rows(y, LEFT, RIGHT, lambda v: f"{v * 100:.4g}%" if metric == "accuracy" else f"{v:.3g}")
    drawing.columns(x, 14, BOTTOM, show)
    drawing.text("tick end", RIGHT, 274, name)
    return drawing


def _worst(curves: list[Curve], metric: str) -> float:
    """Give the metric beyond which an operating point is of no use."""
    final = next((c.points[-1].metric_value for c in curves if c.policy == "classic"), None)
    if final is None:
        final = max((p.metric_value for c in curves for p in c.points), key=lambda v: v * sign(metric))
    return final - WORST if metric == "accuracy" else final * WORST_ERROR


def _is_near(point: Point, worst: float, metric: str) -> bool:
    return (point.metric_value - worst) * sign(metric) >= 0


def _curve_row(curve: Curve, metric: str) -> tuple[str, ...]:
    best = max(curve.points, key=lambda p: (p.metric_value * sign(metric), -p.macs))
    least = curve.points[0]
    return (
        curve.policy,
        str(len(curve.points)),
        wording.value(metric, best.metric_value),
        wording.counted(best.macs),
        wording.counted(least.macs),
        wording.value(metric, least.metric_value),
    )


def energy(forecast: Forecast) -> Figure | None:
    """Draw energy against the metric for each policy under each governor."""
    rows = [row for row in forecast.policies if row.metric_value is not None and row.energy_mj_mean is not None]
    if not rows:
        return None
    named = {"least": min(rows, key=lambda row: row.energy_mj_mean or 0.0), "scheduled": forecast.scheduled}
    said = "; ".join(
        f"{name}: {row.policy} under {row.governor}, {wording.milli(row.energy_mj_mean, 'mJ')}"
        for name, row in named.items()
        if row
    )
    metric = forecast.metric
    governors = [
        Key("s7", SHAPES[i], name) for i, name in enumerate(GOVERNORS) if any(r.governor == name for r in rows)
    ]
    head = ("policy", "governor", metric, "energy (model)", "95 %", "saved", "latency (model)", "missed", "levels")
    return Figure(
        title=f"Energy against {metric}",
        svg=_energy(forecast, rows).svg(
            f"Modelled energy against {metric} of {len(rows)} policies and governors; {said}."
        ),
        caption=f"Measured {metric}; energy is a model of {forecast.profile}. Hollow: misses deadlines."
        " Circled: the schedule that was written. The colour is the policy.",
        legend=(*governors, *_keys((row.policy for row in rows), "■")),
        table=Table(head, tuple(_energy_row(row, forecast) for row in rows)),
    )


def _energy(forecast: Forecast, rows: list[Policy]) -> Drawing:
    x = around([row.energy_mj_mean or 0.0 for row in rows], LEFT, RIGHT)
    y = around([row.metric_value or 0.0 for row in rows], BOTTOM, 14)
    drawing = _framed(forecast.metric, x, y, "mean energy of an input in mJ, a model", lambda v: f"{v:.3g}")
    for row in rows:
        shape = GOVERNORS.index(row.governor) if row.governor in GOVERNORS else 0
        look = f"{'ring' if row.deadline_miss_rate else 'dot'} {_colour(row.policy)}"
        place = x(row.energy_mj_mean or 0.0), y(row.metric_value or 0.0)
        drawing.mark(look, *place, shape=shape, size=4.2, tip=" · ".join(_energy_row(row, forecast)))
        if row is forecast.scheduled:
            drawing.mark("halo", *place, size=8.5)
    return drawing


def _energy_row(row: Policy, forecast: Forecast) -> tuple[str, ...]:
    return (
        row.policy,
        row.governor,
        wording.value(forecast.metric, row.metric_value),
        wording.milli(row.energy_mj_mean, "mJ"),
        wording.energies_between(row.energy_mj_ci95),
        wording.percent(row.energy_saving),
        wording.milli(row.latency_ms_mean, "ms"),
        wording.percent(row.deadline_miss_rate),
        {True: "one", False: "several", None: wording.NONE}[row.one_level],
    )


def worth(forecast: Forecast) -> Figure | None:
    """Draw what the prediction is worth at each deadline; the numbers are those of `worth_table`."""
    rows = _known(forecast.deadlines)
    if not rows:
        return None
    return Figure(
        title="At each deadline",
        svg=_worth(rows).svg(f"Modelled energy of an input at each deadline. {_told(rows)}."),
        caption=f"Mean energy of an input, a model of {forecast.profile}; bars are 95 % over the test images. The gap"
        " is that from the best passive policy down to the oracle: without one, knowing the exits saves nothing.",
        legend=WORTH_KEYS,
    )


def worth_table(forecast: Forecast) -> Table | None:
    """Give what the prediction is worth at each deadline."""
    rows = _known(forecast.deadlines)
    return Table(("deadline", *WORTH_HEAD), tuple(map(_worth_cells, rows))) if rows else None


def sensitivity(forecast: Forecast) -> Figure | None:
    """Draw what the prediction is worth on devices of which one assumed number is another."""
    rows = _known(forecast.sensitivity)
    if not rows:
        return None
    deadline = f"the deadline {forecast.deadline}" if forecast.deadline else "the deadline that was asked for"
    return Figure(
        title="With other assumed numbers",
        svg=_worth(rows).svg(f"Modelled energy of an input on changed devices. {_told(rows)}."),
        caption=f"At {deadline}, one number of {forecast.profile} changed in each row. Where the marks keep their order"
        " in all rows, who needs less does not hang on that number.",
        legend=WORTH_KEYS,
        table=Table(("change", *WORTH_HEAD), tuple(map(_worth_cells, rows))),
    )


def _known(rows: Sequence[Worth]) -> list[Worth]:
    return [row for row in rows if row.passive or row.ours or row.oracle]


def _told(rows: Sequence[Worth]) -> str:
    cells = (_worth_cells(row) for row in rows)
    said = "; ".join(
        f"{name}: best passive {passive}, ours {ours}, oracle {oracle}, ours saves {saved}, gap closed: {closed}"
        for name, passive, ours, oracle, saved, closed in cells
    )
    return said.replace("\n", ", ")


def _worth(rows: Sequence[Worth]) -> Drawing:
    bottom = len(rows) * WORTH_ROW + 6
    drawing = Drawing(height=bottom + 36)
    found = [one for row in rows for one in (row.passive, row.ours, row.oracle) if one]
    ends = [end for one in found for end in one.energy_mj_ci95 or (one.energy_mj_mean,) if end is not None]
    x = around(ends, 16, RIGHT)
    drawing.columns(x, 2, bottom, lambda v: f"{v:.3g}", about=4)
    drawing.text("tick end", RIGHT, bottom + 30, "mean energy of an input in mJ, a model")
    for place, row in enumerate(rows):
        top = place * WORTH_ROW + 2
        drawing.line("edge", 12, top, RIGHT, top)
        drawing.text("name", 12, top + 14, wording.fitted(row.name, LONGEST_NAME))
        drawing.text("number end", RIGHT, top + 14, _verdict(row))
        for step, (key, name, look, shape) in enumerate(WORTH_KINDS):
            one: Best | None = getattr(row, key)
            if one is not None and one.energy_mj_mean is not None:
                _worth_mark(drawing, x, top + 22 + 8 * step, one, look, shape, f"{row.name}, {name}")
    return drawing


def _worth_mark(drawing: Drawing, x: Scale, y: float, one: Best, look: str, shape: int, name: str) -> None:
    if one.energy_mj_ci95:
        drawing.line(f"whisker {look}", x(one.energy_mj_ci95[0]), y, x(one.energy_mj_ci95[1]), y)
    tip = f"{name}: {_best(one)}".replace("\n", ", ")
    drawing.mark(f"dot {look}", x(one.energy_mj_mean or 0.0), y, shape=shape, size=3.6, tip=tip)


def _verdict(row: Worth) -> str:
    """Say in a few words what prediction is worth."""
    if row.gap_closed is not None:
        return f"gap closed {_closed(row)}"
    return NO_GAP if row.saved_passive is None else f"{NO_GAP}, ours {wording.less(row.saved_passive)}"


def _worth_cells(row: Worth) -> tuple[str, ...]:
    saved = _with_ends(row.saved_passive, row.saved_passive_ci95)
    return (row.name, _best(row.passive), _best(row.ours), _best(row.oracle), saved, _closed(row))


def _closed(row: Worth) -> str:
    return NO_GAP if row.gap_closed is None else _with_ends(row.gap_closed, row.gap_closed_ci95, ".0%")


def _with_ends(value: float | None, ends: tuple[float, float] | None, form: str = ".1%") -> str:
    if value is None:
        return wording.NONE
    return f"{value:{form}}" + (f" ({ends[0]:{form}}..{ends[1]:{form}})" if ends else "")


def _best(one: Best | None) -> str:
    """Give an energy with its interval, and on a second line who needs it."""
    if one is None:
        return wording.NONE
    interval = f" ({wording.energies_between(one.energy_mj_ci95)})" if one.energy_mj_ci95 else ""
    held = ", one level" if one.one_level and one.governor in VARYING else ""
    return f"{wording.milli(one.energy_mj_mean, 'mJ')}{interval}\n{one.policy} under {one.governor}{held}"


def savings(forecast: Forecast) -> Table | None:
    """Give what each policy saves of the MACs at equal metric, read off its curve, with paired 95 % intervals."""
    if not forecast.savings:
        return None
    worse = "below the final" if sign(forecast.metric) > 0 else "above the final"
    rows = tuple(
        (
            one.policy,
            wording.value(forecast.metric, one.drop),
            wording.counted(one.macs) if one.macs is not None else "not reached",
            _with_ends(one.saved_classic, one.saved_classic_ci95),
            _with_ends(one.saved_passive, one.saved_passive_ci95),
        )
        for one in forecast.savings
    )
    return Table(("policy", worse, "MACs", "saved against classic", "against the best passive"), rows)
