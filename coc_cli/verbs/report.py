"""coc report: show and compare runs."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from coc_cli.units import printable
from coc_cli.verbs.command import Debug, answers


@answers
def report(
    runs: Annotated[
        list[Path], typer.Argument(metavar="RUN...", help="run directories; others are set against the first")
    ],
    form: Annotated[
        str,
        typer.Option(
            "--format", metavar="FORMAT", help="terminal, html, md (a pull request comment), csv, json or junit"
        ),
    ] = "terminal",
    out: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="file; by default html is RUN/report.html (of several runs ./report.html), and text is printed",
        ),
    ] = None,
    debug: Debug = False,  # noqa: ARG001
) -> None:
    """Show what runs found and how they differ. Unfinished ones as far as they go; a missed limit ends with 0."""
    from coc_cli.report.delivery import deliver

    made = deliver(runs, form, out)
    if isinstance(made, Path):
        print(f"report: {printable(made)}")
    else:
        sys.stdout.write(made)
