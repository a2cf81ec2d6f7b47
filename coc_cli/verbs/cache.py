"""coc cache: what runs/.cache holds."""

from __future__ import annotations

from typing import Annotated

import typer

from coc_cli.verbs.command import Debug, answers


@answers
def cache(
    keep_days: Annotated[
        float | None, typer.Option(metavar="N", help="remove what was not used for so many days")
    ] = None,
    max_bytes: Annotated[
        str | None,
        typer.Option(
            metavar="SIZE", help="remove, until no more is left than e.g. 2GB, what no run needs, then the oldest"
        ),
    ] = None,
    delete: Annotated[bool, typer.Option("--delete", help="do remove it; else it is only said")] = False,
    debug: Debug = False,  # noqa: ARG001
) -> None:
    """Show what runs/.cache holds, and remove what is too much. Says which runs below runs/ need it."""
    from coc_cli.printing.cache import print_cache

    print_cache(keep_days, max_bytes, delete=delete)
