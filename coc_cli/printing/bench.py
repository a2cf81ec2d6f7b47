"""What `coc bench` prints."""

from __future__ import annotations

from typing import TYPE_CHECKING

from coc_cli.printing.table import print_line, print_table, table_of
from coc_cli.units import count, counted, percent

if TYPE_CHECKING:
    from coc_cli.runtime.bench_request import BenchRequest
    from coc_cli.runtime.bench_rows import Bench, Row


def print_bench(bench: Bench, request: BenchRequest) -> None:
    """Print a row a network and runtime, and what a reader must know of the numbers."""
    how = f"{counted(request.threads, 'thread')}, batch {request.batch}, {counted(bench.rounds, 'round')}"
    title = f"milliseconds a batch, medians: {how} over {counted(bench.images, 'image')}"
    table = table_of(title, "network", "runtime", "CPU", "speed-up", "95 %", "wall", "p95", "integer", "file", "memory")
    for row in bench.rows:
        table.add_row(*_cells(row, is_first=row is bench.rows[0]))
    print_table(table)
    versions = dict.fromkeys(f"{row.runtime} {row.version}" for row in bench.rows)
    print_line(f"speed-up: ratio of CPU times against the first row; {', '.join(versions)}")
    for row in bench.rows:
        if row.exits:
            print_line(f"{row.name} ({row.runtime}): images leave at exit {_exits(row.exits)}")
    if bench.is_busy:
        print_line(f"busy machine: {busy(bench.stretch)}; compare CPU times only")
    for note in bench.notes:
        print_line(f"note: {note}")


def busy(stretch: float) -> str:
    """Return how far wall and CPU time part, in words."""
    return f"wall time is {percent(stretch - 1)} above CPU time"


def _cells(row: Row, *, is_first: bool) -> tuple[str, ...]:
    found = row.times
    low, high = found.speedup_ci95
    return (
        row.name,
        row.runtime,
        f"{found.cpu_median:.3g}",
        "1" if is_first else f"{found.speedup:.3g}x",
        "-" if is_first else f"{low:.3g}..{high:.3g}",
        f"{found.median:.3g}",
        f"{found.p95:.3g}",
        "{} of {}".format(*row.integer) if row.integer else "-",
        f"{count(row.bytes)}B",
        f"{count(row.peak_bytes)}B",
    )


def _exits(counts: tuple[int, ...]) -> str:
    """Return the exits at which images leave, with shares."""
    return ", ".join(f"{place} ({percent(number / sum(counts))})" for place, number in enumerate(counts) if number)
