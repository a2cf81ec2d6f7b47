"""coc evaluate: a network by itself, on validation and test images."""

from __future__ import annotations

from contextlib import redirect_stdout
from pathlib import Path
from typing import Annotated

import typer

from coc_cli.verbs.command import AsJson, Debug, Overrides, Quiet, TrustCode, Verbose, answers, results, speaker


@answers
def evaluate(
    target: Annotated[
        Path,
        typer.Argument(
            metavar="RECIPE|RUN|CHECKPOINT", help="a recipe with a checkpoint, a run directory, or a model.safetensors"
        ),
    ],
    data: Annotated[
        Path | None, typer.Option(metavar="RECIPE", help="of a checkpoint: whose images  [default: the run's own]")
    ] = None,
    overrides: Overrides = [],  # noqa: B006
    device: Annotated[str | None, typer.Option(help="auto, cpu, cuda or cuda:N; overrides the recipe's")] = None,
    as_json: AsJson = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
    trust_code: TrustCode = False,
    debug: Debug = False,  # noqa: ARG001
) -> None:
    """Measure a network by itself. On validation and test images: class by class, or number by number."""
    from coc_cli.chain.evaluate_request import prepare

    with speaker(quiet=quiet, verbose=verbose) as say, results(as_json=as_json) as stdout:
        request = prepare(target, data=data, overrides=tuple(overrides), device=device, trust_code=trust_code)
        from coc_cli.chain.evaluate import evaluate as run_evaluate

        found = run_evaluate(request, say=say)
        from coc_cli.printing.evaluation import print_evaluation

        with redirect_stdout(stdout):
            print_evaluation(found, as_json=as_json)
