"""Figures of predictive exit: policies as curves, and energy against the metric."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

from coc_cli.dvfs.governors import GOVERNORS
from coc_cli.report import wording
from coc_cli.report.charts.figure import SHAPES, Figure, Key, Table
from coc_cli.report.charts.svg import WIDTH, Axis, Drawing, around
from coc_cli.report.model import CurveView, PointView, PolicyView, PredictionView, sign

LEFT, RIGHT, BOTTOM = 46.0, WIDTH - 16, 236.0
PALETTE = {  # by family, the policies of each in the file's order
    "none": ("s7",),
    "passive": ("s1", "s3", "s8", "s5"),
    "paper": ("s6",),
    "ours": ("s2", "s4"),
    "bound": ("ink",),
}
NEUTRAL = "s7"  # where a file does not say the family
BOUND, OURS, WITHOUT_EXITS = "bound", "ours", "none"
GOVERNOR_NAMES = tuple(governor.name for governor in GOVERNORS)
WORST = 0.08  # below the final accuracy: operating points that are worse are left out of the drawing
WORST_ERROR = 1.6  # times the final error


def policies(prediction: PredictionView) -> Figure | None:
    """Draw every policy's metric against its MACs."""
    curves = [curve for curve in prediction.curves if curve.points]
    if not curves:
        return None
    metric, worst = prediction.metric, _worst(curves, prediction.metric)
    near = [replace(one, points=tuple(p for p in one.points if _is_near(p, worst, metric))) for one in curves]
    left_out = sum(len(one.points) for one in curves) - sum(len(one.points) for one in near)
    rows = tuple(_curve_row(curve, metric) for curve in curves)
    summary = "; ".join(f"{name} {best} at {macs} MACs" for name, _, best, macs, *_ in rows)
    return Figure(
        title=f"Policies: {metric} against MACs",
        svg=_policies(prediction, near).svg(f"{metric} against mean MACs, best point of each policy: {summary}."),
        caption=f"Operating points fixed on validation, measured on {wording.images(prediction.n_test)}. Dashed lines"
        f" are bounds that no device can reach. Points of poor {metric} that are left out: {left_out}.",
        legend=Looks.of(prediction).keys((curve.policy for curve in curves), "●"),
        table=Table(("policy", "points", f"best {metric}", "MACs there", "fewest MACs", f"{metric} there"), rows),
    )


@dataclass(frozen=True)
class Looks:
    """How each policy is drawn: what its family and its place in it say."""

    colours: dict[str, str]
    bounds: frozenset[str]

    @classmethod
    def of(cls, prediction: PredictionView) -> Looks:
        """Return the looks of all policies in a prediction."""
        named: tuple[PolicyView | CurveView, ...] = (*prediction.policies, *prediction.curves)
        families = {one.policy: one.family for one in named}
        colours: dict[str, str] = {}
        for policy, family in families.items():
            before = sum(families[other] == family for other in colours)
            palette = PALETTE.get(family or "", (NEUTRAL,))
            colours[policy] = palette[before % len(palette)]
        return cls(colours, frozenset(name for name, family in families.items() if family == BOUND))

    def keys(self, policies: Iterable[str], shape: str) -> tuple[Key, ...]:
        """Return the legend of policies; those of one colour share an entry."""
        named: dict[tuple[str, str], list[str]] = {}
        for policy in dict.fromkeys(policies):
            marker = "┄" if policy in self.bounds and shape == "●" else shape
            named.setdefault((self.colours[policy], marker), []).append(policy)
        return tuple(Key(*look, ", ".join(names)) for look, names in named.items())


def _policies(prediction: PredictionView, curves: list[CurveView]) -> Drawing:
    points = [point for curve in curves for point in curve.points]
    full = max([prediction.full_macs or 0.0, *(point.macs for point in points)])
    least = min((point.macs for point in points), default=0.0)
    x = Axis(least * 0.95, full * 1.04, LEFT, RIGHT)
    y = around([point.metric_value for point in points], BOTTOM, 14)
    drawing = _framed(prediction.metric, x, y, "mean MACs of an image", wording.counted)
    looks = Looks.of(prediction)
    for curve in sorted(curves, key=lambda one: (one.family != BOUND, one.family == OURS)):
        look = f"{looks.colours[curve.policy]}{' dashed' if curve.policy in looks.bounds else ''}"
        places = [(x(point.macs), y(point.metric_value)) for point in curve.points]
        drawing.path(f"curve {look}", places)
        for (px, py), point in zip(places, curve.points, strict=True):
            value = wording.value(prediction.metric, point.metric_value)
            tip = f"{curve.policy}: {value}, {wording.counted(point.macs)} MACs"
            drawing.mark(f"dot {look}", px, py, size=2.6, tip=tip)
    return drawing


def _framed(metric: str, x: Axis, y: Axis, name: str, show: Callable[[float], str]) -> Drawing:
    drawing = Drawing(height=280)
    drawing.text("tick", LEFT, 9, metric)
    drawing.rows(y, LEFT, RIGHT, lambda v: f"{v * 100:.4g}%" if metric == "accuracy" else f"{v:.3g}")
    drawing.columns(x, 14, BOTTOM, show)
    drawing.text("tick end", RIGHT, 274, name)
    return drawing


def _worst(curves: list[CurveView], metric: str) -> float:
    """Return the metric beyond which an operating point is of no use."""
    final = next((c.points[-1].metric_value for c in curves if c.family == WITHOUT_EXITS), None)
    if final is None:
        final = max((p.metric_value for c in curves for p in c.points), key=lambda v: v * sign(metric))
    return final - WORST if metric == "accuracy" else final * WORST_ERROR


def _is_near(point: PointView, worst: float, metric: str) -> bool:
    return (point.metric_value - worst) * sign(metric) >= 0


def _curve_row(curve: CurveView, metric: str) -> tuple[str, ...]:
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


def energy(prediction: PredictionView) -> Figure | None:
    """Draw energy against the metric for each policy under each governor."""
    rows = [row for row in prediction.policies if row.metric_value is not None and row.energy_mj_mean is not None]
    if not rows:
        return None
    named = {"least": min(rows, key=lambda row: row.energy_mj_mean or 0.0), "scheduled": prediction.scheduled}
    summary = "; ".join(
        f"{name}: {row.policy} under {row.governor}, {wording.milli(row.energy_mj_mean, 'mJ')}"
        for name, row in named.items()
        if row
    )
    metric = prediction.metric
    used = dict.fromkeys(row.governor for row in rows)
    governors = [Key(NEUTRAL, SHAPES[_shape(name)], name) for name in sorted(used, key=_shape)]
    head = ("policy", "governor", metric, "energy (model)", "95 %", "saved", "latency (model)", "missed", "levels")
    return Figure(
        title=f"Energy against {metric}",
        svg=_energy(prediction, rows).svg(
            f"Modelled energy against {metric} of {len(rows)} policies and governors; {summary}."
        ),
        caption=f"Measured {metric}; energy is a model of {prediction.profile}. Hollow: misses deadlines."
        " Circled: the schedule that was written. The colour is the policy.",
        legend=(*governors, *Looks.of(prediction).keys((row.policy for row in rows), "■")),
        table=Table(head, tuple(_energy_row(row, prediction) for row in rows)),
    )


def _shape(governor: str) -> int:
    """Return the index of a governor's marker."""
    return GOVERNOR_NAMES.index(governor) % len(SHAPES) if governor in GOVERNOR_NAMES else 0


def _energy(prediction: PredictionView, rows: list[PolicyView]) -> Drawing:
    looks = Looks.of(prediction)
    x = around([row.energy_mj_mean or 0.0 for row in rows], LEFT, RIGHT)
    y = around([row.metric_value or 0.0 for row in rows], BOTTOM, 14)
    drawing = _framed(prediction.metric, x, y, "mean energy of an input in mJ, a model", lambda v: f"{v:.3g}")
    for row in rows:
        look = f"{'ring' if row.deadline_miss_rate else 'dot'} {looks.colours[row.policy]}"
        place = x(row.energy_mj_mean or 0.0), y(row.metric_value or 0.0)
        drawing.mark(look, *place, shape=_shape(row.governor), size=4.2, tip=" · ".join(_energy_row(row, prediction)))
        if row is prediction.scheduled:
            drawing.mark("halo", *place, size=8.5)
    return drawing


def _energy_row(row: PolicyView, prediction: PredictionView) -> tuple[str, ...]:
    return (
        row.policy,
        row.governor,
        wording.value(prediction.metric, row.metric_value),
        wording.milli(row.energy_mj_mean, "mJ"),
        wording.energies_between(row.energy_mj_ci95),
        wording.percent(row.energy_saving),
        wording.milli(row.latency_ms_mean, "ms"),
        wording.percent(row.deadline_miss_rate),
        {True: "one", False: "several", None: wording.NONE}[row.one_level],
    )
