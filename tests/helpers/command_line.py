"""The command line in this process: what `coc` prints for some arguments, and the code it ends with."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from typer.testing import CliRunner

from coc_cli.cli import app

STOPS = (signal.SIGINT, signal.SIGTERM)


@dataclass(frozen=True)
class Outcome:
    """How a command ended."""

    code: int
    stdout: str
    stderr: str


@dataclass(frozen=True)
class Run:
    """A folder in which a command has run, how it ended, and the run directory below; to be read only."""

    folder: Path
    outcome: Outcome

    @property
    def directory(self) -> Path:
        """Return the run directory."""
        return self.folder / "runs/tiny"


def coc(*arguments: str | Path, code: int | None = 0) -> Outcome:
    """Run `coc` in the current folder and check its exit code, if one is given."""
    with _signal_handlers_restored():
        ended = CliRunner().invoke(app, [str(argument) for argument in arguments])
    assert ended.exception is None or isinstance(ended.exception, SystemExit), ended.exception
    assert code in (ended.exit_code, None), ended.stderr + ended.stdout
    return Outcome(ended.exit_code, ended.stdout, ended.stderr)


@contextmanager
def _signal_handlers_restored() -> Iterator[None]:
    """Put back what the verbs replace: they turn SIGINT and SIGTERM into an exit code."""
    before = {stop: signal.getsignal(stop) for stop in STOPS}
    try:
        yield
    finally:
        for stop, handler in before.items():
            signal.signal(stop, handler)
