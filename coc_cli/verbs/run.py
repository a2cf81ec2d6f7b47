"""coc run: what a network sees in images."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from coc_cli.verbs.command import Debug, TrustCode, answers


@answers
def run(
    target: Annotated[
        Path, typer.Argument(metavar="DIR|CHECKPOINT", help="what coc export wrote, a run directory or a checkpoint")
    ],
    images: Annotated[list[Path], typer.Argument(metavar="IMAGE...", help="image files")],
    as_json: Annotated[bool, typer.Option("--json", help="print JSON")] = False,
    trust_code: TrustCode = False,
    debug: Debug = False,  # noqa: ARG001
) -> None:
    """Say what a network sees in images."""
    from coc_cli.runtime.run import answers as answers_for

    found, has_exits = answers_for(target, images, trust_code=trust_code)
    from coc_cli.printing.export import print_answers

    print_answers(found, as_json=as_json, has_exits=has_exits)
