"""Figures of predictive exit: policies as curves, energy against the metric, and frequency over time of some inputs."""

from __future__ import annotations

from dataclasses import dataclass

from coc_cli.report import wording
from coc_cli.report.figures import SHAPES, Figure, Key, Table
from coc_cli.report.model import Curve, Example, Forecast, Policy, Stretch, sign
from coc_cli.report.svg import WIDTH, Drawing, Scale, around

LEFT, RIGHT = 46.0, WIDTH - 16
COLOURS = {
    "classic": "s7",
    "threshold": "s1",
    "hierarchical": "s3",
    "placement": "s8",
    "patience": "s5",
    "predictive-conv": "s6",
    "predictive": "s2",
    "predictive-commit": "s4",
    "oracle": "s7",
    "oracle-0": "s7",
}
BOUNDS = ("oracle", "oracle-0")
GOVERNORS = ("race", "constant", "pace", "paper")
WORST = 0.08  # below the final accuracy: operating points that are worse are left out of the drawing
WORST_ERROR = 1.6  # times the final error


@dataclass(frozen=True)
class Timeline:
    """An example with its drawing."""

    example: Example
    svg: str
    text: str


def policies(forecast: Forecast) -> Figure | None:
    """Draw every policy's metric against its MACs."""
    curves = [curve for curve in forecast.curves if curve.points]
    if not curves:
        return None
    worst = _worst(curves, forecast.metric)
    near = [(curve, [p for p in curve.points if _is_near(p.metric_value, worst, forecast.metric)]) for curve in curves]
    values = [p.metric_value for _, points in near for p in points]
    full = forecast.full_macs or max(p.macs for curve in curves for p in curve.points)
    least = min((p.macs for _, points in near for p in points), default=0.0)
    drawing = Drawing(height=280)
    x, y = Scale(least * 0.95, max(full, least) * 1.04, LEFT, RIGHT), around(values, 236, 14)
    drawing.text("tick", LEFT, 9, forecast.metric)
    drawing.rows(y, LEFT, RIGHT, lambda v: _tick(forecast.metric, v))
    drawing.columns(x, 14, 236, wording.counted)
    drawing.text("tick end", RIGHT, 274, "mean MACs of an image")
    for curve, points in near:
        look = f"{COLOURS.get(curve.policy, 's7')}{' dashed' if curve.policy in BOUNDS else ''}"
        places = [(x(p.macs), y(p.metric_value)) for p in points]
        drawing.path(f"curve {look}", places)
        for (px, py), point in zip(places, points, strict=True):
            value = wording.value(forecast.metric, point.metric_value)
            tip = f"{curve.policy}: {value}, {wording.counted(point.macs)} MACs"
            drawing.mark(f"dot {look}", px, py, size=2.6, tip=tip)
    left_out = sum(len(curve.points) - len(points) for curve, points in near)
    rows = tuple(_curve_row(curve, forecast.metric) for curve in curves)
    return Figure(
        title=f"Policies: {forecast.metric} against MACs",
        svg=drawing.svg(
            f"{forecast.metric} against mean MACs, best point of each policy: "
            + "; ".join(f"{r[0]} {r[2]} at {r[3]} MACs" for r in rows)
            + "."
        ),
        caption=f"Operating points fixed on validation, measured on {wording.images(forecast.n_test)}. Dashed lines are"
        f" bounds that no device can reach. Points of poor {forecast.metric} that are left out: {left_out}.",
        legend=tuple(Key(COLOURS.get(c.policy, "s7"), "┄" if c.policy in BOUNDS else "●", c.policy) for c in curves),
        table=Table(
            ("policy", "points", f"best {forecast.metric}", "MACs there", "fewest MACs", f"{forecast.metric} there"),
            rows,
        ),
    )


def _worst(curves: list[Curve], metric: str) -> float:
    """Give the metric beyond which an operating point is of no use."""
    final = next((c.points[-1].metric_value for c in curves if c.policy == "classic"), None)
    if final is None:
        final = max((p.metric_value for c in curves for p in c.points), key=lambda v: v * sign(metric))
    return final - WORST if metric == "accuracy" else final * WORST_ERROR


def _is_near(value: float, worst: float, metric: str) -> bool:
    return (value - worst) * sign(metric) >= 0


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


def _tick(metric: str, value: float) -> str:
    return f"{value * 100:.4g}%" if metric == "accuracy" else f"{value:.3g}"


def energy(forecast: Forecast) -> Figure | None:
    """Draw energy against the metric for each policy under each governor."""
    rows = [row for row in forecast.policies if row.metric_value is not None and row.energy_mj_mean is not None]
    if not rows:
        return None
    drawing = Drawing(height=280)
    x = around([row.energy_mj_mean or 0.0 for row in rows], LEFT, RIGHT)
    y = around([row.metric_value or 0.0 for row in rows], 236, 14)
    drawing.text("tick", LEFT, 9, forecast.metric)
    drawing.rows(y, LEFT, RIGHT, lambda v: _tick(forecast.metric, v))
    drawing.columns(x, 14, 236, lambda v: f"{v:.3g}")
    drawing.text("tick end", RIGHT, 274, "mean energy of an input in mJ, a model")
    for row in rows:
        shape = GOVERNORS.index(row.governor) if row.governor in GOVERNORS else 0
        look = f"{'ring' if row.deadline_miss_rate else 'dot'} {COLOURS.get(row.policy, 's7')}"
        place = x(row.energy_mj_mean or 0.0), y(row.metric_value or 0.0)
        drawing.mark(look, *place, shape=shape, size=4.2, tip=" · ".join(_energy_row(row, forecast)))
    if forecast.scheduled and forecast.scheduled in rows:
        chosen = forecast.scheduled
        drawing.mark("halo", x(chosen.energy_mj_mean or 0.0), y(chosen.metric_value or 0.0), size=8.5)
    cells = tuple(_energy_row(row, forecast) for row in rows)
    best = min(rows, key=lambda row: row.energy_mj_mean or 0.0)
    said = [f"least: {best.policy} under {best.governor}, {wording.milli(best.energy_mj_mean, 'mJ')}"]
    if ours := forecast.scheduled:
        said.append(f"scheduled: {ours.policy} under {ours.governor}, {wording.milli(ours.energy_mj_mean, 'mJ')}")
    found = [row.policy for row in rows]
    return Figure(
        title=f"Energy against {forecast.metric}",
        svg=drawing.svg(
            f"Modelled energy against {forecast.metric} of {len(rows)} pairs of policy and governor; {'; '.join(said)}."
        ),
        caption=f"Measured {forecast.metric}; energy is a model of {forecast.profile}. Hollow: misses deadlines."
        " Circled: the schedule that was written. The colour is the policy, as above.",
        legend=tuple(
            Key("s7", SHAPES[i], name) for i, name in enumerate(GOVERNORS) if any(r.governor == name for r in rows)
        )
        + tuple(Key(COLOURS.get(name, "s7"), "■", name) for name in dict.fromkeys(found)),
        table=Table(
            ("policy", "governor", forecast.metric, "energy (model)", "saved", "latency (model)", "missed"), cells
        ),
    )


def _energy_row(row: Policy, forecast: Forecast) -> tuple[str, ...]:
    return (
        row.policy,
        row.governor,
        wording.value(forecast.metric, row.metric_value),
        wording.milli(row.energy_mj_mean, "mJ"),
        wording.percent(row.energy_saving),
        wording.milli(row.latency_ms_mean, "ms"),
        wording.percent(row.deadline_miss_rate),
    )


def timelines(forecast: Forecast) -> tuple[Timeline, ...]:
    """Draw the frequency over time of each example."""
    every = [stretch.frequency_mhz for one in forecast.examples for stretch in one.segments]
    if not every:
        return ()
    highest = max(every)
    end = max(max(one.deadline_ms or 0.0, sum(s.latency_ms for s in one.segments)) for one in forecast.examples)
    return tuple(_timeline(one, highest, end) for one in forecast.examples if one.segments)


def _timeline(one: Example, highest: float, end: float) -> Timeline:
    drawing = Drawing(height=110)
    x, y = Scale(0, end or 1.0, 44, RIGHT), Scale(0, highest * 1.1 or 1.0, 78, 8)
    drawing.rows(y, 44, RIGHT, lambda v: f"{v:g}", about=2)
    drawing.columns(x, 8, 78, lambda v: f"{v:.3g}", about=4)
    drawing.text("tick end", RIGHT, 104, "ms (model); height is MHz")
    at = 0.0
    for stretch in one.segments:
        start, at = at, at + stretch.latency_ms
        top = y(stretch.frequency_mhz)
        width = max(0.6, x(at) - x(start) - 0.6)
        tip = (
            f"{stretch.reason}: {stretch.frequency_mhz:g} MHz, {stretch.latency_ms:.3g} ms, {stretch.energy_mj:.3g} mJ"
        )
        drawing.add("rect", kind=f"bar {_look(stretch)}", x=x(start), y=top, width=width, height=78 - top, tip=tip)
    if one.deadline_ms is not None:
        drawing.line("deadline", x(one.deadline_ms), 4, x(one.deadline_ms), 80)
    if one.latency_ms is not None:
        drawing.mark("dot ink", x(one.latency_ms), 78, shape=2, size=5, tip=f"answer after {one.latency_ms:.3g} ms")
    text = (
        f"leaves at exit {one.exit} after {wording.milli(one.latency_ms, 'ms')} of"
        f" {wording.milli(one.deadline_ms, 'ms')} with {wording.milli(one.energy_mj, 'mJ')} (model)"
    )
    steps = "; ".join(f"{s.reason} {s.frequency_mhz:g} MHz {s.latency_ms:.3g} ms" for s in one.segments)
    return Timeline(
        one, drawing.svg(f"Frequency over time of {one.kind} input {one.input}, which {text}. {steps}."), text
    )


def _look(stretch: Stretch) -> str:
    """Give the class of a stretch: waiting, a change of level, forecast or not."""
    if stretch.reason in ("idle", "transition"):
        return stretch.reason
    return "s2" if stretch.reason.startswith("predicted") else "s1"


def worth(forecast: Forecast) -> Table | None:
    """Give what the prediction is worth under several deadlines and on changed devices."""
    if not forecast.worth:
        return None
    rows = tuple(
        (
            one.name,
            *(wording.milli(energy, "mJ") for energy in (one.passive, one.ours, one.oracle)),
            wording.percent(one.saved_passive),
            wording.NONE if one.gap_closed is None else f"{one.gap_closed:.0%}",
        )
        for one in forecast.worth
    )
    return Table(("deadline or change", "best passive", "ours", "oracle", "saved", "of the gap"), rows)
