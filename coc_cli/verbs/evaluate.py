"""coc evaluate: a network by itself, on validation and test images."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from coc_cli.verbs.command import Debug, Overrides, TrustCode, answers, say


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
    as_json: Annotated[bool, typer.Option("--json", help="print JSON")] = False,
    trust_code: TrustCode = False,
    debug: Debug = False,  # noqa: ARG001
) -> None:
    """Measure a network by itself on validation and test images: class by class, or number by number."""
    from coc_cli.chain.evaluate_request import prepare

    request = prepare(target, data=data, overrides=tuple(overrides), device=device, trust_code=trust_code)
    from coc_cli.chain.evaluate import evaluate as run_evaluate

    found = run_evaluate(request, say=say)
    from coc_cli.printing.evaluation import print_evaluation

    print_evaluation(found, as_json=as_json)
