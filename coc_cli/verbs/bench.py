"""coc bench: time networks on this machine."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from coc_cli.verbs.command import Debug, Quiet, TrustCode, Verbose, answers, speaker


@answers
def bench(
    targets: Annotated[
        list[Path], typer.Argument(metavar="RUN|DIR...", help="run directories, or folders that coc export wrote")
    ],
    threads: Annotated[int, typer.Option(metavar="N", help="how many compute")] = 1,
    batch: Annotated[int, typer.Option(metavar="N", help="images at a time; several run all exits")] = 1,
    seconds: Annotated[float, typer.Option(metavar="S", help="how long to time, after a warm-up")] = 10.0,
    peers: Annotated[
        bool, typer.Option("--peers", help="also the baseline as other tools quantise it to 8 bits")
    ] = False,
    data: Annotated[
        Path | None, typer.Option(metavar="RECIPE", help="whose test images go in  [default: the run's own]")
    ] = None,
    quiet: Quiet = False,
    verbose: Verbose = False,
    trust_code: TrustCode = False,
    debug: Debug = False,  # noqa: ARG001
) -> None:
    """Time networks on this machine. Each in its own process, against the first: a run's baseline and its result."""
    from coc_cli.runtime.bench_request import prepare

    with speaker(quiet=quiet, verbose=verbose) as say:
        options = {"threads": threads, "batch": batch, "seconds": seconds, "peers": peers, "data": data}
        request = prepare(targets, trust_code=trust_code, **options)  # type: ignore[arg-type]
        from coc_cli.runtime.bench import bench as run_bench

        found = run_bench(request, say=say)
        from coc_cli.printing.bench import print_bench

        print_bench(found, request)
