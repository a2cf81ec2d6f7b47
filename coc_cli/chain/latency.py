"""The latency of a finished run: baseline and result timed on its test images, as report.json says it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from coc_cli.data.images import Data
from coc_cli.errors import RunError
from coc_cli.recipe.model import Recipe
from coc_cli.report.schema.run import LatencyEntry
from coc_cli.runtime.bench import bench
from coc_cli.runtime.bench_request import BenchRequest, of_checkpoints
from coc_cli.runtime.bench_rows import Bench, Row

SECONDS, MOST_ATTEMPTS = 2.5, 3


def latencies(
    recipe: Recipe, baseline: Path, result: Path, data: Data, say: Callable[[str], None]
) -> tuple[LatencyEntry | None, LatencyEntry | None]:
    """Return what baseline and result took; None where the recipe does not ask, or where it cannot be measured.

    Raises:
        RunError: If it cannot be measured and a limit needs it.
    """
    if not recipe.needs_latency:
        return None, None
    attempts = MOST_ATTEMPTS if recipe.limits.timed else 1
    request = of_checkpoints(baseline, result, seconds=SECONDS, attempts=attempts)
    try:
        found = bench(request, test=data.test, train=data.train, say=say)
    except (RunError, OSError) as error:
        if needing := recipe.limits.needing_latency:
            raise RunError(f"limits.{needing[0]} cannot be judged: {error}") from error
        say(f"warning: latency is not measured: {error}")
        return None, None
    if found.is_busy:
        say("busy machine: only CPU times can be compared")
    before, after = (entry(row, found, request) for row in found.rows)
    return before, after


def entry(row: Row, found: Bench, request: BenchRequest) -> LatencyEntry:
    """Return a row as report.json has it."""
    assert row.integer
    return LatencyEntry(
        median=row.times.median,
        p95=row.times.p95,
        cpu_median=row.times.cpu_median,
        speedup=row.times.speedup,
        speedup_ci95=row.times.speedup_ci95,
        busy=found.is_busy,
        threads=request.threads,
        batch=request.batch,
        runtime=f"{row.runtime} {row.version}",
        integer_convs=row.integer[0],
        convs=row.integer[1],
    )
