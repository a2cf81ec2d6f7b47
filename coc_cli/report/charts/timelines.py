"""Frequency over time of the example inputs."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import groupby

from coc_cli.report import wording
from coc_cli.report.charts.svg import WIDTH, Axis, Drawing
from coc_cli.report.model import ExampleView, PredictionView, Stretch

RIGHT = WIDTH - 16
WAITING = ("idle", "transition")  # reasons of stretches in which no layer runs


@dataclass(frozen=True)
class Timeline:
    """An example with its drawing."""

    example: ExampleView
    svg: str
    text: str


def timelines(prediction: PredictionView) -> tuple[Timeline, ...]:
    """Draw the frequency over time of each example."""
    every = [stretch.frequency_mhz for one in prediction.examples for stretch in one.segments]
    if not every:
        return ()
    highest = max(every)
    end = max(max(one.deadline_ms or 0.0, sum(s.latency_ms for s in one.segments)) for one in prediction.examples)
    final = prediction.final_exit
    return tuple(_timeline(one, highest, end, final) for one in prediction.examples if one.segments)


def _timeline(one: ExampleView, highest: float, end: float, final: int | None) -> Timeline:
    drawing = Drawing(height=110)
    x, y = Axis(0, end or 1.0, 44, RIGHT), Axis(0, highest * 1.1 or 1.0, 78, 8)
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
    goes = "goes to the final output," if one.exit == final else f"leaves at exit {one.exit}"
    text = (
        f"{goes} after {wording.milli(one.latency_ms, 'ms')} of {wording.milli(one.deadline_ms, 'ms')}"
        f" with {wording.milli(one.energy_mj, 'mJ')} (model){_levels(one)}"
    )
    steps = "; ".join(f"{s.reason} {s.frequency_mhz:g} MHz {s.latency_ms:.3g} ms" for s in one.segments)
    return Timeline(
        one, drawing.svg(f"Frequency over time of {one.kind} input {one.input}, which {text}. {steps}."), text
    )


def _levels(one: ExampleView) -> str:
    """Return the frequencies that an example ran at, in order, in words."""
    ran = [f"{stretch.frequency_mhz:g}" for stretch in one.segments if stretch.reason not in WAITING]
    return f" at {' → '.join(name for name, _ in groupby(ran))} MHz" if ran else ""


def _look(stretch: Stretch) -> str:
    """Return the class of a stretch: waiting, a change of level, predicted or not."""
    if stretch.reason in WAITING:
        return stretch.reason
    return "s2" if stretch.reason.startswith("predicted") else "s1"
