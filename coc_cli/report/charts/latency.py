"""What baseline and result took on the machine of the run, as a table."""

from __future__ import annotations

from coc_cli.report import wording
from coc_cli.report.charts.figure import Table
from coc_cli.report.model import Run

HEAD = ("stage", "CPU time", "speed-up", "95 %", "wall, median", "wall, p95", "integer layers")


def latency(run: Run) -> Table | None:
    """Return a row a network of which CPU time is known; None where the result's is not."""
    if run.last is None or run.last.latency_ms is None or run.last.latency_ms.cpu_median is None:
        return None
    rows = []
    for stage in run.stages:
        found = stage.latency_ms
        if found is None:
            continue
        low, high = found.speedup_ci95 or (None, None)
        cpu, median, p95 = (wording.milli(one, "ms") for one in (found.cpu_median, found.median, found.p95))
        speedup, ends = wording.times(found.speedup), f"{wording.times(low)}..{wording.times(high)}"
        is_first = stage is run.first
        marks = ("1", wording.NONE) if is_first else (speedup, ends)
        rows.append((stage.title, cpu, *marks, median, p95, wording.integer(found)))
    return Table(HEAD, tuple(rows))
