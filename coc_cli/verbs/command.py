"""What verbs share: options, how an error becomes a line and an exit code, and where they say what they do."""

from __future__ import annotations

import contextlib
import functools
import json
import os
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, TextIO

import typer

from coc_cli.errors import CocError, ExitCode, UserError, environment_error, user_error
from coc_cli.units import duration, printable

RecipePath = Annotated[Path, typer.Argument(metavar="RECIPE", help="a YAML recipe")]
Overrides = Annotated[
    list[str], typer.Option("--set", metavar="a.b=c", help="change a key of the recipe, e.g. chain.0.distill.epochs=5")
]
TrustCode = Annotated[
    bool, typer.Option("--trust-code", help="run the Python file that a checkpoint names, where it is needed")
]
Quiet = Annotated[bool, typer.Option("-q", "--quiet", help="no progress; results, warnings and errors remain")]
Verbose = Annotated[bool, typer.Option("-v", "--verbose", help="more of what is being done, and when")]
AsJson = Annotated[bool, typer.Option("--json", help="print the result as one JSON object, and nothing else on stdout")]
Debug = Annotated[bool, typer.Option("--debug", help="show the traceback of an error")]
LIFE_SECONDS = 14.0  # so that a verb says something at least every half minute
WARNING = "warning: "  # what no --quiet keeps back begins so


def answers(verb: Callable[..., ExitCode | None]) -> Callable[..., None]:
    """Turn what a verb gives or raises into an exit code, errors into lines on stderr."""

    @functools.wraps(verb)
    def wrapped(*args: Any, **kwargs: Any) -> None:
        _STOPPED.clear()
        for stop in (signal.SIGINT, signal.SIGTERM):  # a shell's background job comes with SIGINT ignored
            signal.signal(stop, _interrupt)
        try:
            code = verb(*args, **kwargs) or ExitCode.DONE
            sys.stdout.flush()  # a full disk, or a pipe that nobody reads, shows only now
        except BaseException as error:
            if isinstance(error, SystemExit):
                raise
            if kwargs.get("debug"):
                traceback.print_exc()
            text, code = _ending(error)
            with contextlib.suppress(OSError):
                print(text, end="\n" if text else "", file=sys.stderr, flush=True)
        raise typer.Exit(int(code))

    return wrapped


def _ending(error: BaseException) -> tuple[str, ExitCode]:
    """Return what is said of an error, and the exit code; nothing of a pipe that nobody reads on."""
    if _STOPPED or _is_interrupt(error):
        return "interrupted; the same command goes on from the last epoch", ExitCode.INTERRUPTED
    if isinstance(error, OSError) and error.filename is None:
        _discard_output()
        error.filename = "standard output"  # what coc writes to a file names it
    if isinstance(error, BrokenPipeError):
        return "", ExitCode.FAILED
    if isinstance(error, UserError):
        return str(error), error.exit_code
    if isinstance(error, OSError) and error.errno:
        error = environment_error(error)
    if isinstance(error, CocError):
        return printable(error), error.exit_code
    if isinstance(error, MemoryError):
        return "out of memory; lower 'batch', 'size' or 'limit' in the recipe", ExitCode.FAILED
    first = (str(error).splitlines() or [""])[0]
    return printable(f"coc failed: {type(error).__name__}: {first}; --debug shows where"), ExitCode.FAILED


def _is_interrupt(error: BaseException | None) -> bool:
    """Return whether Ctrl-C is behind an error: while a library is imported that makes another of it."""
    if error is None or isinstance(error, KeyboardInterrupt):
        return error is not None
    return _is_interrupt(error.__cause__ or error.__context__)


def _discard_output() -> None:
    """Let what could not be printed not fail again when the process ends."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except OSError:  # noqa: PERF203  (there are two)
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


_STOPPED: list[int] = []  # signals that this process was sent


def _interrupt(number: int, _: object) -> None:
    _STOPPED.append(number)
    raise KeyboardInterrupt


def say(text: str) -> None:
    """Print what a verb is doing, beside its result."""
    print(printable(text), file=sys.stderr)


@contextlib.contextmanager
def speaker(*, quiet: bool, verbose: bool) -> Iterator[Callable[[str], None]]:
    """Yield what prints what a verb is doing, and says again what was said last where nothing else is for long.

    If `quiet` it prints warnings alone, if `verbose` also how many seconds went by; raises `UserError` for both.
    """
    if quiet and verbose:
        raise user_error("--quiet", "does not go with --verbose; give one of them")
    began = time.monotonic()
    last = (began, "")  # when what was said
    over = threading.Event()

    def speak(text: str) -> None:
        nonlocal last
        last = time.monotonic(), text
        if not quiet or text.startswith(WARNING):
            say(f"{time.monotonic() - began:8.1f} s  {text}" if verbose else text)

    def repeat() -> None:
        with contextlib.suppress(OSError, ValueError):  # nobody reads stderr, or it is closed
            while not over.wait(LIFE_SECONDS):
                if last[1] and time.monotonic() - last[0] >= LIFE_SECONDS:
                    say(f"still at work after {duration(time.monotonic() - began)}: {last[1]}")

    if not quiet:
        threading.Thread(target=repeat, name="coc-life", daemon=True).start()
    try:
        yield speak
    finally:
        over.set()


def one_object(content: Mapping[str, Any]) -> str:
    """Return what `--json` prints."""
    return json.dumps(content, indent=2) + "\n"


@contextlib.contextmanager
def results(*, as_json: bool) -> Iterator[TextIO]:
    """Yield where a result is written; with `as_json` all else that is printed meanwhile goes to stderr."""
    stdout = sys.stdout
    with contextlib.redirect_stdout(sys.stderr) if as_json else contextlib.nullcontext():
        yield stdout
