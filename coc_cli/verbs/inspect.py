"""coc inspect: what a checkpoint holds."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from coc_cli.verbs.command import Debug, TrustCode, answers


@answers
def inspect(
    target: Annotated[Path, typer.Argument(metavar="RUN|CHECKPOINT", help="a run directory, or a model.safetensors")],
    trust_code: TrustCode = False,
    debug: Debug = False,  # noqa: ARG001
) -> None:
    """Show what a checkpoint holds: architecture, lineage, and each layer's shape, bits and BitOps."""
    from coc_cli.nets.checkpoint import checked_header
    from coc_cli.nets.checkpoint_header import checkpoint_at
    from coc_cli.printing.checkpoint import print_header

    checkpoint = checkpoint_at(target)
    print_header(checked_header(checkpoint, trust_code=trust_code), checkpoint)
