"""coc export: write a network for a runtime."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from coc_cli.verbs.command import Debug, Quiet, TrustCode, Verbose, answers, speaker


@answers
def export(
    target: Annotated[Path, typer.Argument(metavar="RUN|CHECKPOINT", help="a run directory, or a model.safetensors")],
    to: Annotated[str, typer.Option("--to", metavar="FORM", help="onnx, tflite or torch")] = "onnx",
    out: Annotated[Path | None, typer.Option(metavar="DIR", help="folder  [default: RUN/export]")] = None,
    weights: Annotated[str, typer.Option(help="int8, int4 or int2: bits of weights in the file")] = "int8",
    portable: Annotated[
        bool, typer.Option("--portable", help="equal answers also on x86 processors without VNNI; slower")
    ] = False,
    data: Annotated[
        Path | None, typer.Option(metavar="RECIPE", help="whose validation images it is compared on  [default: RUN's]")
    ] = None,
    unchecked: Annotated[bool, typer.Option("--unchecked", help="do not compare it with the network")] = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
    trust_code: TrustCode = False,
    debug: Debug = False,  # noqa: ARG001
) -> None:
    """Write a network for a runtime. It is compared with the network on validation images."""
    from coc_cli.runtime.export_request import prepare

    with speaker(quiet=quiet, verbose=verbose) as say:
        options = {"weights": weights, "portable": portable, "data": data, "unchecked": unchecked}
        request = prepare(target, to=to, out=out, trust_code=trust_code, **options)  # type: ignore[arg-type]
        from coc_cli.runtime.export import export as run_export

        exported = run_export(request, say=say)
        from coc_cli.printing.export import print_export

        print_export(exported)
