"""coc init: a recipe to begin with."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from coc_cli.verbs.command import Debug, answers


@answers
def init(
    data: Annotated[
        str,
        typer.Option("--data", metavar="DATA", help="a folder, .zip, .csv or .npz, digits, or a name of torchvision's"),
    ],
    arch: Annotated[
        str | None,
        typer.Option("--arch", metavar="ARCH", help="cifar:, torchvision:, timm:NAME or file:PATH.py:FUNCTION"),
    ] = None,
    checkpoint: Annotated[
        Path | None, typer.Option(metavar="FILE", help="trained weights; of one that coc wrote no --arch is needed")
    ] = None,
    out: Annotated[
        Path | None, typer.Option(metavar="FILE", help="the recipe  [default: NAME.yaml, from the data's]")
    ] = None,
    debug: Debug = False,  # noqa: ARG001
) -> None:
    """Write a recipe for a network and data. It is looked over, commented, and can be planned at once."""
    from coc_cli.chain.draft import write_draft

    written = write_draft(data, arch=arch, checkpoint=checkpoint, out=out)
    from coc_cli.printing.draft import print_draft

    print_draft(written)
