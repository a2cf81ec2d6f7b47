"""coc compress: apply a recipe's chain."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from coc_cli.errors import ExitCode, RunError
from coc_cli.files.run_directory import REPORT
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
from coc_cli.verbs.exit_prediction import predict_and_print


@answers
def compress(
    recipe: RecipePath,
    out: Annotated[Path | None, typer.Option(metavar="DIR", help="run directory  [default: runs/NAME]")] = None,
    overrides: Overrides = [],  # noqa: B006  (typer copies it)
    fresh: Annotated[bool, typer.Option("--fresh", help="make every stage again, whatever the cache holds")] = False,
    device: Annotated[str | None, typer.Option(help="auto, cpu, cuda or cuda:N; overrides the recipe's")] = None,
    as_json: AsJson = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
    trust_code: TrustCode = False,
    debug: Debug = False,  # noqa: ARG001
) -> ExitCode:
    """Apply a recipe's chain. Leaves a compressed checkpoint and a report in the run directory."""
    from coc_cli.chain.compress import compress as run

    request = {"out": out, "overrides": tuple(overrides), "fresh": fresh, "device": device, "trust_code": trust_code}
    with speaker(quiet=quiet, verbose=verbose) as say, results(as_json=as_json) as stdout:
        result = run(recipe, **request, quiet=quiet, verbose=verbose)  # type: ignore[arg-type]
        if as_json:
            stdout.write((result.directory / REPORT).read_text() + "\n")
        else:
            from coc_cli.printing.result import print_result

            print_result(result.report, result.directory)
        if (asked := result.recipe.predict_exit) is not None:
            place = Path(asked.out) if asked.out else None  # the user's own recipe may choose it
            where = device or result.recipe.device
            predict_and_print(result.directory, say, printed=not as_json, out=place, device=where, trust_code=True)
    if result.is_undecided:
        raise RunError("not decided: busy machine; run the same command again when it has less to do")
    return ExitCode.DONE if result.ok else ExitCode.LIMIT_MISSED
