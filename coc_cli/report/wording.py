"""Figures in words, the same in page, comment and terminal; what is not known is a dash."""

from __future__ import annotations

from coc_cli import units
from coc_cli.report.model import DifferenceView, LatencyView, LimitView, PredictionView, Run, StageView
from coc_cli.units import count, metric_text

NONE = "\u2013"  # a dash
MODEL = "model"
BUSY = "busy machine: only CPU times can be compared"
SAME = 0.005  # a ratio so near to one
WHOLE = 1000  # numbers from here on have no fraction worth reading


def fitted(name: str, longest: int) -> str:
    """Return a name that is not too long for its place: beginning and end."""
    return name if len(name) <= longest else f"{name[: longest // 2 - 1]}…{name[longest // 2 - longest :]}"


def value(metric: str, number: float | None) -> str:
    """Return a metric's value."""
    return NONE if number is None else metric_text(metric, number)


def titled(metric: str) -> str:
    """Return a metric's name as a sentence begins."""
    return "MAE" if metric == "mae" else metric[:1].upper() + metric[1:]


def interval(metric: str, ends: tuple[float, float] | None) -> str:
    """Return a 95 % interval."""
    if ends is None:
        return NONE
    low, high = (f"{end:.1%}" if metric == "accuracy" else f"{end:.4g}" for end in ends)
    return f"{low}..{high}"


def r2(number: float | None) -> str:
    """Return R2 to four digits behind the point."""
    return NONE if number is None else f"{number:.4f}"


def counted(number: float | None) -> str:
    """Return a count with a unit of a thousand."""
    return NONE if number is None else count(number)


def times(number: float | None) -> str:
    """Return a ratio: how many times less."""
    if number is None:
        return NONE
    return f"{number:.1f}x" if number >= 10 else f"{number:.2f}x" if number >= 1 else f"{number:.3g}x"  # noqa: PLR2004


def part(number: float | None) -> str:
    """Return a ratio of sizes: 1/46.3."""
    return NONE if number is None else f"1/{number:.1f}"


def percent(number: float | None) -> str:
    """Return a fraction in percent."""
    return NONE if number is None else units.percent(number)


def milli(number: float | None, unit: str) -> str:
    """Return ms or mJ to three digits."""
    return NONE if number is None else f"{number:.3g} {unit}"


def energies_between(ends: tuple[float, float] | None) -> str:
    """Return an interval of energies in mJ."""
    return NONE if ends is None else f"{ends[0]:.3g}..{ends[1]:.3g}"


def bits(number: float | None) -> str:
    """Return a number of bits."""
    return NONE if number is None else f"{number:g}"


def points(metric: str, number: float | None) -> str:
    """Return a difference of metrics: of accuracies in percentage points, of errors in their own unit."""
    if number is None:
        return NONE
    return f"{number * 100:+.2f} points" if metric == "accuracy" else f"{number:+.4g}"


def change(metric: str, found: DifferenceView | None, *, with_interval: bool = True) -> str:
    """Return how the metric differs from the baseline's."""
    if found is None:
        return NONE
    if found.ci95 is None or not with_interval:
        return points(metric, found.value)
    low, high = (f"{end * 100:+.2f}" if metric == "accuracy" else f"{end:+.4g}" for end in found.ci95)
    return f"{points(metric, found.value)} ({low}..{high})"


def images(number: float | None) -> str:
    """Return how many test images a figure is of."""
    return "an unknown number of test images" if number is None else f"{number:.0f} test images"


def latency(stage: StageView | None) -> str:
    """Return a measured latency, or say that there is none."""
    if stage is None or stage.latency_ms is None:
        return "not measured"
    found = stage.latency_ms
    wall = f"{milli(found.median, 'ms')} median, {milli(found.p95, 'ms')} p95 ({timed_in(found)}; measured)"
    if found.cpu_median is None:
        return wall
    busy = f"; {BUSY}" if found.busy else ""
    return f"{milli(found.cpu_median, 'ms')} CPU time, {speedup(found)}; wall {wall}{busy}"


def timed_in(found: LatencyView) -> str:
    """Return in what a latency was measured."""
    threads = "1 thread" if found.threads == 1 else f"{bits(found.threads)} threads"
    return f"{found.runtime or 'unknown runtime'}, {threads}, batch {bits(found.batch)}"


def speedup(found: LatencyView) -> str:
    """Return how many times less CPU time than the baseline's, with its interval."""
    low, high = found.speedup_ci95 or (None, None)
    return f"speed-up {times(found.speedup)} ({times(low)}..{times(high)})"


def integer(found: LatencyView) -> str:
    """Return how many layers run on integers."""
    return f"{bits(found.integer_convs)} of {bits(found.convs)}"


def energy(prediction: PredictionView) -> str:
    """Return the modelled energy of an input under the schedule that was written."""
    row = prediction.scheduled
    if row is None:
        return "no schedule"
    saved = "" if row.energy_saving is None else f", {less(row.energy_saving)} than without exits at full speed"
    return f"{milli(row.energy_mj_mean, 'mJ')} an input on {prediction.profile}{saved} ({MODEL})"


def energies(run: Run) -> str:
    """Return the modelled energy on every device that was planned for."""
    return "; ".join(map(energy, run.predictions)) or "not modelled"


def judged(limit: LimitView) -> str:
    """Return whether a limit is met, in a word."""
    verdict = {True: "met", False: "MISSED", None: "not known"}[limit.ok]
    verdict = "not decided" if limit.decided is False else verdict
    numbers = [
        NONE if number is None else f"{number:.6g}" if abs(number) >= WHOLE else f"{number:.4g}"
        for number in (limit.limit, limit.value)
    ]
    return f"{limit.name} {numbers[0]}: {numbers[1]}, {verdict}"


def overlapping(found: bool | None) -> str:
    """Return whether two intervals overlap, in a word."""
    return {True: "overlap", False: "apart", None: NONE}[found]


def against(number: float | None) -> str:
    """Return how many times fewer or more."""
    if number is None or number <= 0:
        return NONE
    if abs(number - 1) < SAME:
        return "the same"
    word, many = ("fewer", number) if number > 1 else ("more", 1 / number)
    return f"{many:.0f}x {word}" if many >= WHOLE else f"{many:.3g}x {word}"


def less(saving: float) -> str:
    """Return what a saved fraction is in words; it may be a loss."""
    return f"{saving:.1%} less" if saving >= 0 else f"{-saving:.1%} more"


def seconds(number: float | None) -> str:
    """Return a time of training."""
    return NONE if number is None else f"{number:.0f} s"
