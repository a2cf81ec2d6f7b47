"""What a prediction of exits is worth: energy at each deadline and on changed devices, and MACs at equal metric."""

from __future__ import annotations

from collections.abc import Sequence

from coc_cli.dvfs.governors import GOVERNORS
from coc_cli.report import wording
from coc_cli.report.charts.figure import SHAPES, Figure, Key, Table
from coc_cli.report.charts.svg import WIDTH, Axis, Drawing, around
from coc_cli.report.model import BenefitView, BestView, DifferenceView, PredictionView, sign

RIGHT = WIDTH - 16
VARYING = tuple(governor.name for governor in GOVERNORS if governor.varies)
NO_GAP = "no gap"
LONGEST_NAME = 22  # characters
ROW = 48.0
KINDS = (("passive", "best passive", "s1", 1), ("ours", "ours", "s2", 0), ("oracle", "oracle", "ink", 2))
KEYS = tuple(Key(colour, SHAPES[shape], name) for _, name, colour, shape in KINDS)
HEAD = ("best passive", "ours", "oracle", "ours saves, and scores", "gap closed")


def benefit(prediction: PredictionView) -> Figure | None:
    """Draw what the prediction is worth at each deadline; the numbers are those of `worth_table`."""
    rows = _known(prediction.deadlines)
    if not rows:
        return None
    return Figure(
        title="At each deadline",
        svg=_drawing(rows).svg(f"Modelled energy of an input at each deadline. {_in_words(rows, prediction.metric)}."),
        caption=f"Mean energy of an input, a model of {prediction.profile}; bars are 95 % over the test images. The gap"
        " is that from the best passive policy down to the oracle; there is none where the oracle needs no less. All"
        " reach the same metric on validation; how ours differs on test from the best passive stands in the table.",
        legend=KEYS,
    )


def benefit_table(prediction: PredictionView) -> Table | None:
    """Return what the prediction is worth at each deadline."""
    rows = _known(prediction.deadlines)
    return Table(("deadline", *HEAD), tuple(_cells(row, prediction.metric) for row in rows)) if rows else None


def sensitivity(prediction: PredictionView) -> Figure | None:
    """Draw what the prediction is worth on devices of which one assumed number is another."""
    rows = _known(prediction.sensitivity)
    if not rows:
        return None
    deadline = f"the deadline {prediction.deadline}" if prediction.deadline else "the deadline that was asked for"
    return Figure(
        title="With other assumed numbers",
        svg=_drawing(rows).svg(
            f"Modelled energy of an input on changed devices. {_in_words(rows, prediction.metric)}."
        ),
        caption=f"At {deadline}, one number of {prediction.profile} changed in each row. Where the marks keep their"
        " order in all rows, who needs less does not hang on that number.",
        legend=KEYS,
        table=Table(("change", *HEAD), tuple(_cells(row, prediction.metric) for row in rows)),
    )


def _known(rows: Sequence[BenefitView]) -> list[BenefitView]:
    return [row for row in rows if row.passive or row.ours or row.oracle]


def _in_words(rows: Sequence[BenefitView], metric: str) -> str:
    cells = (_cells(row, metric) for row in rows)
    summary = "; ".join(
        f"{name}: best passive {passive}, ours {ours}, oracle {oracle}, ours saves {saved}, gap closed: {closed}"
        for name, passive, ours, oracle, saved, closed in cells
    )
    return summary.replace("\n", ", ")


def _drawing(rows: Sequence[BenefitView]) -> Drawing:
    bottom = len(rows) * ROW + 6
    drawing = Drawing(height=bottom + 36)
    choices = [one for row in rows for one in (row.passive, row.ours, row.oracle) if one]
    ends = [end for one in choices for end in one.energy_mj_ci95 or (one.energy_mj_mean,) if end is not None]
    x = around(ends, 16, RIGHT)
    drawing.columns(x, 2, bottom, lambda v: f"{v:.3g}", about=4)
    drawing.text("tick end", RIGHT, bottom + 30, "mean energy of an input in mJ, a model")
    for place, row in enumerate(rows):
        top = place * ROW + 2
        drawing.line("edge", 12, top, RIGHT, top)
        drawing.text("name", 12, top + 14, wording.fitted(row.name, LONGEST_NAME))
        drawing.text("number end", RIGHT, top + 14, _verdict(row))
        for step, (key, name, look, shape) in enumerate(KINDS):
            one: BestView | None = getattr(row, key)
            if one is not None and one.energy_mj_mean is not None:
                _mark(drawing, x, top + 22 + 8 * step, one, look, shape, f"{row.name}, {name}")
    return drawing


def _mark(drawing: Drawing, x: Axis, y: float, one: BestView, look: str, shape: int, name: str) -> None:
    if one.energy_mj_ci95:
        drawing.line(f"whisker {look}", x(one.energy_mj_ci95[0]), y, x(one.energy_mj_ci95[1]), y)
    tip = f"{name}: {_best(one)}".replace("\n", ", ")
    drawing.mark(f"dot {look}", x(one.energy_mj_mean or 0.0), y, shape=shape, size=3.6, tip=tip)


def _verdict(row: BenefitView) -> str:
    """Return in a few words what prediction is worth."""
    if row.gap_closed is not None:
        return f"gap closed {_closed(row)}"
    return NO_GAP if row.saved_passive is None else f"{NO_GAP}, ours {wording.less(row.saved_passive)}"


def _cells(row: BenefitView, metric: str) -> tuple[str, ...]:
    saved = _with_ends(row.saved_passive, row.saved_passive_ci95)
    scores = wording.change(metric, _change(row, sign(metric)))
    both = saved if row.score_difference is None else f"{saved}\n{scores}"
    return (row.name, _best(row.passive), _best(row.ours), _best(row.oracle), both, _closed(row))


def _change(row: BenefitView, direction: int) -> DifferenceView | None:
    """Return how ours differs from the best passive policy in the metric on test."""
    if row.score_difference is None:
        return None
    low, high = sorted(direction * end for end in row.score_difference_ci95 or (0.0, 0.0))
    return DifferenceView(direction * row.score_difference, (low, high) if row.score_difference_ci95 else None)


def _closed(row: BenefitView) -> str:
    return NO_GAP if row.gap_closed is None else _with_ends(row.gap_closed, row.gap_closed_ci95, ".0%")


def _with_ends(value: float | None, ends: tuple[float, float] | None, form: str = ".1%") -> str:
    if value is None:
        return wording.NONE
    return f"{value:{form}}" + (f" ({ends[0]:{form}}..{ends[1]:{form}})" if ends else "")


def _best(one: BestView | None) -> str:
    """Return an energy with its interval, and on a second line who needs it."""
    if one is None:
        return wording.NONE
    interval = f" ({wording.energies_between(one.energy_mj_ci95)})" if one.energy_mj_ci95 else ""
    held = ", one level" if one.one_level and one.governor in VARYING else ""
    return f"{wording.milli(one.energy_mj_mean, 'mJ')}{interval}\n{one.policy} under {one.governor}{held}"


def savings(prediction: PredictionView) -> Table | None:
    """Return what each policy saves of the MACs at equal metric, read off its curve, with paired 95 % intervals."""
    if not prediction.savings:
        return None
    worse = "below the final" if sign(prediction.metric) > 0 else "above the final"
    rows = tuple(
        (
            one.policy,
            wording.value(prediction.metric, one.drop),
            wording.counted(one.macs) if one.macs is not None else "not reached",
            _with_ends(one.saved_classic, one.saved_classic_ci95),
            _with_ends(one.saved_passive, one.saved_passive_ci95),
        )
        for one in prediction.savings
    )
    return Table(("policy", worse, "MACs", "saved against classic", "against the best passive"), rows)
