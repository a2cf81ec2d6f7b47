"""A report in a terminal."""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator

from rich.console import Console
from rich.table import Table
from rich.text import Text

from coc_cli.report import wording
from coc_cli.report.comparison import differences, remarks
from coc_cli.report.model import Run, StageView

WIDTH = 160


def terminal(runs: tuple[Run, ...], console: Console | None = None) -> str:
    """Return tables of every run's stages and, of several, their differences; as wide as the console."""
    parts = [part for run in runs for part in _run(run)]
    if len(runs) > 1:
        parts += [_differences(runs), *remarks(differences(runs))]
    return _rendered(parts, console)


def stage_table(run: Run, console: Console | None = None) -> str:
    """Return the table of a run's stages, as wide as the console."""
    return _rendered([_stages(run)], console)


def _rendered(parts: Iterable[Table | str], console: Console | None) -> str:
    shape = console or Console()
    file = io.StringIO()
    out = Console(
        file=file, force_terminal=shape.is_terminal, width=shape.width if shape.is_terminal else WIDTH, highlight=False
    )
    for part in parts:
        out.print(part, markup=False)
    return file.getvalue()


def _table(title: str, *columns: str) -> Table:
    table = Table(title=Text(title), title_justify="left")
    for index, column in enumerate(columns):
        table.add_column(Text(column), justify="right" if index else "left", no_wrap=True)
    return table


def _stages(run: Run) -> Table:
    n = run.last.n_test if run.last else None
    title = f"{run.label}: {run.metric} measured on {wording.images(n)}, 95 % interval; {run.verdict}"
    r2 = ("R2",) if run.has_r2 else ()
    names = (
        "stage",
        run.metric,
        "95 %",
        *r2,
        "change",
        "MACs",
        "BitOps",
        "factor",
        "ratio (strict)",
        "nominal",
        "bytes",
    )
    table = _table(title, *names)
    for stage in run.stages:
        table.add_row(*map(Text, _row(run, stage)))
    return table


def _run(run: Run) -> Iterator[Table | str]:
    yield from run.damaged
    yield _stages(run)
    if run.last and run.last.exits:
        used = [one for one in run.last.exits if one.share]
        each = (
            f"{one.index}: {wording.percent(one.share)} ({wording.value(run.metric, one.metric_value)})" for one in used
        )
        yield f"images that leave at an exit ({run.metric} there): {', '.join(each)}"
    for sentence in run.warnings:
        yield f"warning: {sentence}"
    for limit in run.limits:
        yield f"limit {wording.judged(limit)}"
    yield f"latency: {wording.latency(run.last)}"
    yield f"energy: {wording.energies(run)}"
    for sentence in run.missing:
        yield f"missing: {sentence}"


def _row(run: Run, stage: StageView) -> Iterator[str]:
    yield stage.title
    yield wording.value(run.metric, stage.metric_value)
    yield wording.interval(run.metric, stage.metric_ci95)
    if run.has_r2:
        yield wording.r2(stage.r2)
    yield wording.change(run.metric, stage.change)
    yield wording.counted(stage.macs)
    yield wording.counted(stage.bitops)
    yield wording.times(stage.factor)
    yield wording.times(stage.bitops_ratio)
    yield wording.times(stage.bitops_ratio_nominal)
    yield f"{wording.counted(stage.checkpoint_bytes)} ({wording.part(stage.bytes_ratio)})"


def _differences(runs: tuple[Run, ...]) -> Table:
    title = f"results against {runs[0].label}"
    table = _table(title, "run", "difference", "95 % intervals", "BitOps", "bytes", "energy (model)")
    for difference, run in zip(differences(runs), runs[1:], strict=True):
        cells = (
            difference.run,
            wording.points(run.metric, difference.metric_difference),
            wording.overlapping(difference.intervals_overlap),
            wording.against(difference.bitops_ratio),
            wording.against(difference.bytes_ratio),
            wording.against(difference.energy_ratio),
        )
        table.add_row(*map(Text, cells))
    return table
