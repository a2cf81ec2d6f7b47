"""The command line: its verbs, and how the process begins."""

from __future__ import annotations

import contextlib
import io
import os
import sys
from typing import Annotated

import typer

from coc_cli.errors import ExitCode
from coc_cli.units import printable
from coc_cli.verbs import VERBS

app = typer.Typer(
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,  # plain help: as in docs/cli.md, and sooner
    epilog="Exit codes: 0 done, 1 failed, 2 recipe, file or argument wrong, 3 a limit is missed, 130 interrupted.",
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 118},
    help="Compress convolutional networks by a chain of techniques, and plan the energy of running them.",
)
for name, verb in VERBS.items():
    if isinstance(verb, typer.Typer):
        app.add_typer(verb, name=name)
    else:
        app.command(name)(verb)


def _version(value: bool) -> None:
    if value:
        from coc_cli.version import __version__

        print(f"coc {__version__}")
        raise typer.Exit


@app.callback()
def root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="show the version and exit")
    ] = False,
) -> None:
    pass


def _unusable_surroundings(arguments: list[str]) -> str | None:
    """Return why nothing can be done at all, if that is so."""
    try:
        os.getcwd()  # noqa: PTH109
    except OSError:
        return "coc: the current directory is gone; change to one that is there"
    wrong = [one for one in arguments if any("\ud800" <= sign <= "\udfff" for sign in one)]
    return f"{printable(wrong[0])}: is no UTF-8, which reports need; rename the file or folder" if wrong else None


def main() -> None:
    """Run the command line."""
    for descriptor in range(3):  # one that the shell closed would be the next file that is opened
        with contextlib.suppress(OSError):
            os.fstat(descriptor)
            continue
        os.open(os.devnull, os.O_RDWR)
    sys.stdout, sys.stderr = sys.stdout or open(1, "w", encoding="utf-8"), sys.stderr or open(2, "w", encoding="utf-8")  # noqa: SIM115
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # in a terminal that knows ASCII only
    if what := _unusable_surroundings(sys.argv[1:]):
        print(what, file=sys.stderr)
        sys.exit(ExitCode.USAGE)
    # Threads that wait must not spin: on a machine with other work to do that makes a step up to 50 times slower.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    app()
