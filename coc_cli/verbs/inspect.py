"""coc inspect: what a checkpoint holds."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from coc_cli.verbs.command import AsJson, Debug, TrustCode, answers, one_object, results


@answers
def inspect(
    target: Annotated[Path, typer.Argument(metavar="RUN|CHECKPOINT", help="a run directory, or a model.safetensors")],
    as_json: AsJson = False,
    trust_code: TrustCode = False,
    debug: Debug = False,  # noqa: ARG001
) -> None:
    """Show what a checkpoint holds, layer by layer. Architecture, lineage, and each layer's shape, bits and BitOps."""
    from coc_cli.nets.checkpoint import checked_header
    from coc_cli.nets.checkpoint_header import checkpoint_at
    from coc_cli.printing.checkpoint import checkpoint_report, print_header
    from coc_cli.report.schema.part import as_data

    checkpoint = checkpoint_at(target)
    with results(as_json=as_json) as stdout:
        header = checked_header(checkpoint, trust_code=trust_code)
        if as_json:
            stdout.write(one_object(as_data(checkpoint_report(header, checkpoint))))
        else:
            print_header(header, checkpoint)
