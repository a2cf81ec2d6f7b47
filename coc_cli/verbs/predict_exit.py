"""coc predict-exit: predict exits and plan frequencies."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from coc_cli.files.run_directory import PREDICTION
from coc_cli.verbs.command import AsJson, Debug, Quiet, TrustCode, Verbose, answers, results, speaker
from coc_cli.verbs.exit_prediction import predict_and_print


@answers
def predict_exit(
    target: Annotated[Path, typer.Argument(metavar="RUN|CHECKPOINT", help="a run directory, or a model.safetensors")],
    data: Annotated[Path | None, typer.Option(metavar="RECIPE", help="whose images  [default: the run's own]")] = None,
    profile: Annotated[str | None, typer.Option(help="a device (see coc profiles), or a profile's path")] = None,
    deadline: Annotated[
        str | None, typer.Option(help="12ms, or 1.25x: times the network without exits at the highest frequency")
    ] = None,
    confidence: Annotated[
        float | None,
        typer.Option(min=0.5, max=0.9999, help="promise max_drop with this probability, tested on half of validation"),
    ] = None,
    out: Annotated[Path | None, typer.Option(metavar="DIR", help="folder  [default: RUN/predict-exit/PROFILE]")] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N: where the network runs once")] = "auto",
    every: Annotated[bool, typer.Option("--all", help="print every policy under every governor, too")] = False,
    applies: Annotated[
        bool, typer.Option("--apply", help="write a model.safetensors, too, without the heads that are not worth it")
    ] = False,
    as_json: AsJson = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
    trust_code: TrustCode = False,
    debug: Debug = False,  # noqa: ARG001
) -> None:
    """Predict where inputs leave, and plan a frequency for each. Compares exit policies."""
    options = {"data": data, "profile": profile, "deadline": deadline, "confidence": confidence, "out": out}
    with speaker(quiet=quiet, verbose=verbose) as say, results(as_json=as_json) as stdout:
        folder = predict_and_print(
            target,
            say,
            printed=not as_json,
            every=every,
            **options,
            device=device,
            applies=applies,
            trust_code=trust_code,
        )
        if as_json:
            stdout.write((folder / PREDICTION).read_text() + "\n")
