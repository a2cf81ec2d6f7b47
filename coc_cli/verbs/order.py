"""coc order: measure which order of stages is best."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from coc_cli.files.run_directory import ORDER
from coc_cli.verbs.command import (
    AsJson,
    Debug,
    Overrides,
    Quiet,
    RecipePath,
    TrustCode,
    Verbose,
    answers,
    results,
    speaker,
)


@answers
def order(
    recipe: RecipePath,
    stages: Annotated[
        str | None, typer.Option(metavar="A,B,...", help="of the recipe's chain  [default: all of it]")
    ] = None,
    strengths: Annotated[int | None, typer.Option(min=2, max=20, help="of each stage  [default: 3]")] = None,
    seeds: Annotated[int | None, typer.Option(min=1, max=1000, help="5 or more for a verdict  [default: 10]")] = None,
    insert: Annotated[bool, typer.Option("--insert", help="put each third stage before, between and behind")] = False,
    every: Annotated[bool, typer.Option("--all", help="rank all orders of all stages, too")] = False,
    teachers: Annotated[
        bool | None, typer.Option(help="let all stages listen to their teachers  [default: no-teachers]")
    ] = None,
    jobs: Annotated[int | None, typer.Option(min=1, max=1024, help="beside each other  [default: the cores]")] = None,
    executor: Annotated[str, typer.Option(metavar="local|ray", help="where the jobs run")] = "local",
    dry: Annotated[bool, typer.Option("--dry", help="say what would run, and what effect that would find")] = False,
    out: Annotated[Path | None, typer.Option(metavar="DIR", help="folder  [default: runs/NAME-order]")] = None,
    overrides: Overrides = [],  # noqa: B006  (typer copies it)
    as_json: AsJson = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
    trust_code: TrustCode = False,
    debug: Debug = False,  # noqa: ARG001
) -> None:
    """Measure which order of stages is best. Both orders of each pair, over strengths and seeds."""
    from coc_cli.order.request import prepare

    flags = {"inserted": insert, "every": every, "teachers": teachers, "executor": executor, "trust_code": trust_code}
    numbers = {"stages": stages, "strengths": strengths, "seeds": seeds, "jobs": jobs, "out": out}
    request = prepare(recipe, tuple(overrides), **flags, **numbers)  # type: ignore[arg-type]
    with speaker(quiet=quiet, verbose=verbose) as say, results(as_json=as_json) as stdout:
        from coc_cli.order.outlook import outlook
        from coc_cli.order.run_order import run_order
        from coc_cli.printing.order import print_order, print_outlook

        if dry:
            print_outlook(request, outlook(request, say))
            return
        report = run_order(request, say)
        if as_json:
            stdout.write((request.directory / ORDER).read_text() + "\n")
        else:
            print_order(report, request.directory)
