"""A report as text: Markdown for a pull request, CSV with a row a stage, and all of it as JSON."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import asdict

from coc_cli.report import wording
from coc_cli.report.comparison import differences, front, remarks, settings
from coc_cli.report.model import Run, StageView, as_data
from coc_cli.units import printable, spreadsheet_cell

SPECIAL = re.compile(r"[\\`*\[\]#|~$]|(?<!\w)_|_(?!\w)")
MOST_NOTES = 8  # of what is missing, in a comment


def data(runs: tuple[Run, ...]) -> str:
    """Return everything that is known, as JSON; images are left out."""
    content = {
        "schema": 1,
        "runs": [as_data(run) for run in runs],
        "differences": [asdict(difference) for difference in differences(runs)],
        "settings": [asdict(difference) for difference in settings(runs)] if len(runs) > 1 else [],
        "pareto": [{"run": run.label, "index": stage.index} for run, stage in front(runs)],
    }
    return json.dumps(content, indent=2, allow_nan=False) + "\n"


CSV_COLUMNS = (
    "index",
    "name",
    "metric_value",
    "metric_ci95_low",
    "metric_ci95_high",
    "metric_change",
    "metric_change_ci95_low",
    "metric_change_ci95_high",
    "r2",
    "trivial_value",
    "n_test",
    "macs",
    "bitops",
    "factor",
    "bitops_ratio",
    "bitops_ratio_nominal",
    "params",
    "checkpoint_bytes",
    "bytes_ratio",
    "latency_ms_median",
    "latency_ms_p95",
    "latency_ms_cpu_median",
    "latency_ms_speedup",
    "seconds",
)


def csv_text(runs: tuple[Run, ...]) -> str:
    """Return a row a stage; what is not known is empty."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["run", "directory", "metric", *CSV_COLUMNS])
    for run in runs:
        rows = ([run.label, run.directory, run.metric, *_cells(stage)] for stage in run.stages)
        writer.writerows(map(spreadsheet_cell, row) for row in rows)
    return text.getvalue()


def _cells(stage: StageView) -> Iterator[object]:
    cells = {
        **vars(stage),
        **_ends("metric_ci95", stage.metric_ci95),
        **_ends("metric_change_ci95", stage.change.ci95 if stage.change else None),
        "metric_change": stage.change.value if stage.change else None,
        "latency_ms_median": stage.latency_ms.median if stage.latency_ms else None,
        "latency_ms_p95": stage.latency_ms.p95 if stage.latency_ms else None,
        "latency_ms_cpu_median": stage.latency_ms.cpu_median if stage.latency_ms else None,
        "latency_ms_speedup": stage.latency_ms.speedup if stage.latency_ms else None,
    }
    return (cells[column] for column in CSV_COLUMNS)


def _ends(name: str, ends: tuple[float, float] | None) -> dict[str, float | None]:
    low, high = ends or (None, None)
    return {f"{name}_low": low, f"{name}_high": high}


def markdown(runs: tuple[Run, ...]) -> str:
    """Return a comment for a pull request: verdict, a small table, and differences where there are several runs."""
    named = len(runs) > 1
    damaged = [f"**{escaped(f'{run.label}: {what}' if named else what)}**" for run in runs for what in run.damaged]
    warned = [
        f"**Warning: {escaped(f'{run.label}: {what}' if named else what)}**" for run in runs for what in run.warnings
    ]
    parts = [*damaged[:MOST_NOTES], *warned[:MOST_NOTES], _single(runs[0]) if len(runs) == 1 else _several(runs)]
    missing = [f"- {escaped(f'{run.label}: {what}' if named else what)}" for run in runs for what in run.missing]
    if len(missing) > MOST_NOTES:
        missing[MOST_NOTES:] = [f"- and {len(missing) - MOST_NOTES} more"]
    parts += ["Missing:\n\n" + "\n".join(missing)] if missing else []
    return "\n\n".join(parts) + "\n"


def escaped(text: object) -> str:
    """Return a text that Markdown shows as it is, in one line: no markup, no HTML, no cell, no mention."""
    line = printable(" ".join(str(text).split()))
    line = line.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return SPECIAL.sub(r"\\\g<0>", line).replace("@", "&#64;")


def _table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    head = list(head)
    lines = [head, ["---", *["---:"] * (len(head) - 1)], *map(list, rows)]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _single(run: Run) -> str:
    heading = f"### coc report: {escaped(run.label)}: {run.verdict}"
    metric, last = escaped(run.metric), run.last
    if last is None:
        return f"{heading}\n\nNo stage has a result yet."
    head = (
        "stage",
        metric,
        "95 %",
        *(["R2"] if run.has_r2 else []),
        "BitOps",
        "factor",
        "ratio (strict)",
        "nominal",
        "bytes",
    )
    rows = ([escaped(cell) for cell in _row(run, stage)] for stage in run.stages)
    limits = "; ".join(escaped(wording.judged(limit)) for limit in run.limits)
    return "\n\n".join([heading, _sentence(run, last), _table(head, rows), *([f"Limits: {limits}"] if limits else [])])


def _sentence(run: Run, last: StageView) -> str:
    return (
        f"**{escaped(run.metric)} {wording.value(run.metric, last.metric_value)}**"
        f", {wording.change(run.metric, last.change)} against the baseline;"
        f" **BitOps {wording.against(last.bitops_ratio)}**,"
        f" **bytes {wording.against(last.bytes_ratio)}**."
        f" Measured on {wording.images(last.n_test)}; latency {escaped(wording.latency(last))};"
        f" energy {escaped(wording.energies(run))}."
    )


def _row(run: Run, stage: StageView) -> Iterator[str]:
    yield stage.title
    yield wording.value(run.metric, stage.metric_value)
    yield wording.interval(run.metric, stage.metric_ci95)
    if run.has_r2:
        yield wording.r2(stage.r2)
    yield wording.counted(stage.bitops)
    yield wording.times(stage.factor)
    yield wording.times(stage.bitops_ratio)
    yield wording.times(stage.bitops_ratio_nominal)
    yield f"{wording.counted(stage.checkpoint_bytes)} ({wording.part(stage.bytes_ratio)})"


def _several(runs: tuple[Run, ...]) -> str:
    heading = f"### coc report: {len(runs)} runs, against {escaped(runs[0].label)}"
    against = {difference.run: difference for difference in differences(runs)}
    head = (
        "run",
        "difference",
        "intervals",
        "result",
        "95 %",
        "BitOps",
        "against first",
        "bytes",
        "against first",
        "limits",
    )
    rows = []
    for run in runs:
        difference, last = against.get(run.label) if run is not runs[0] else None, run.last
        cells = [
            run.label,
            "reference"
            if run is runs[0]
            else wording.points(run.metric, difference.metric_difference if difference else None),
            wording.overlapping(difference.intervals_overlap if difference else None),
            f"{run.metric} {wording.value(run.metric, last.metric_value if last else None)}",
            wording.interval(run.metric, last.metric_ci95 if last else None),
            wording.counted(last.bitops if last else None),
            wording.against(difference.bitops_ratio if difference else None),
            wording.counted(last.checkpoint_bytes if last else None),
            wording.against(difference.bytes_ratio if difference else None),
            run.verdict,
        ]
        rows.append(map(escaped, cells))
    notes = [f"- {escaped(remark)}" for remark in remarks(against.values())]
    return "\n\n".join([heading, _table(head, rows), *(["\n".join(notes)] if notes else [])])
