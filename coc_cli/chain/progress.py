"""The progress of a run: a bar in a terminal, plain lines anywhere else, and log.jsonl."""

from __future__ import annotations

import json
import threading
import time
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn

from coc_cli.files.atomic import append
from coc_cli.learning.training import Epoch
from coc_cli.units import duration, printable

if TYPE_CHECKING:
    from typing_extensions import Self

QUIET_SECONDS = 5.0  # between two plain lines of epochs
SILENT_SECONDS = 25.0  # after which a plain line says that the run is alive
VERBOSE_SECONDS = 5.0  # the same if more is asked for
TICK_SECONDS = 0.5  # between two looks at how far it is
FIRST_STEPS = 5  # of a training, which are slower than those that follow and give no estimate


@dataclass(frozen=True)
class Position:
    """How far a training is; all count from 0."""

    epoch: int
    epochs: int
    step: int
    steps: int

    def __str__(self) -> str:
        where = f"step {self.step}/{self.steps}" if self.step < self.steps else "validation"
        return f"epoch {self.epoch + 1}/{self.epochs}  {where}"

    @property
    def steps_done(self) -> int:
        """The steps before this one, of all epochs."""
        return self.epoch * self.steps + self.step


class Pace:
    """How fast a training is, and so how long it has still to go."""

    def __init__(self) -> None:
        self.at: Position | None = None
        self._epoch_seconds = 0.0  # the last one's, with its validation; 0 before there was one
        self._from: tuple[float, int] | None = None  # when, and at which step, the estimate begins

    def step(self, position: Position) -> None:
        """Note where a training is: called at every step, so it does no more than this."""
        self.at = position
        if self._from is None and position.step >= min(FIRST_STEPS, position.steps - 1):
            self._from = time.monotonic(), position.steps_done

    def epoch(self, epoch: Epoch) -> None:
        """Note the end of an epoch."""
        self._epoch_seconds = epoch.seconds
        if epoch.epoch == epoch.epochs:
            self.at, self._from, self._epoch_seconds = None, None, 0.0

    def seconds_left(self) -> float | None:
        """Return how long the training may still take, None before enough steps were seen."""
        at, begin = self.at, self._from
        if at is None:
            return None
        if self._epoch_seconds:
            return (at.epochs - at.epoch - at.step / max(1, at.steps)) * self._epoch_seconds
        if begin is None or at.steps_done - begin[1] < FIRST_STEPS:
            return None
        rate = (time.monotonic() - begin[0]) / (at.steps_done - begin[1])
        return rate * (at.epochs * at.steps - at.steps_done)


class Reporter:
    """Reports a run; a context, so that the bar is removed whatever happens.

    A training tells it of each step (`step`), which only notes it; a thread looks twice a second, moves the bar, or
    prints a line when none was printed for long.
    """

    def __init__(
        self, log: Path, stages: int, console: Console | None = None, *, quiet: bool = False, verbose: bool = False
    ) -> None:
        self.console = console or Console(stderr=True)
        self.log, self.stages = log, stages
        self.stage, self.index, self.doing = "", 0, ""
        self.quiet, self.verbose = quiet, verbose
        self.pace = Pace()
        self._printed_at = 0.0
        self._began = self._silent_since = time.monotonic()
        self._bar: Progress | None = None
        self._task: Any = None
        self._text = ""
        self._over = threading.Event()
        self._ticker: threading.Thread | None = None

    def __enter__(self) -> Self:
        if self.console.is_terminal and not self.quiet:
            self._bar = Progress(
                TextColumn("[bold]{task.description}"),
                BarColumn(bar_width=20),
                TextColumn("{task.fields[say]}", markup=False),
                console=self.console,
                transient=True,
            )
            self._bar.start()
        if not self.quiet:
            self._ticker = threading.Thread(target=self._tick, name="coc-progress", daemon=True)
            self._ticker.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        if self._ticker:
            self._ticker.join()
        if self._bar:
            self._bar.stop()

    def event(self, event: str, **fields: Any) -> None:
        """Write one line to log.jsonl."""
        entry = {"time": datetime.now(timezone.utc).isoformat(timespec="milliseconds"), "event": event, **fields}
        append(self.log, json.dumps(entry).encode() + b"\n")

    def begin(self, index: int, name: str, key: str) -> None:
        """Begin a stage, to which the epochs that follow belong."""
        self.stage, self.index, self._printed_at = f"{index}/{self.stages} {name}", index, 0.0
        self.pace, self.doing, self._text = Pace(), "at work", ""
        self.event("begin", index=index, stage=name, key=key)
        if self.verbose:
            self._print(
                f"{self.stage}: begins {time.monotonic() - self._began:.1f} s after the start; its key is {key}"
            )

    def say(self, text: str, *, event: str, **fields: Any) -> None:
        """Print a line, if `quiet` only a warning, and log it."""
        line = printable(f"{self.stage}: {text}".removeprefix(": "))
        if not self.quiet or event == "warning":
            self._print(line)
        self.event(event, index=self.index, **fields)

    def decoding(self, done: int, total: int) -> None:
        """Show how many images are decoded."""
        if not self.quiet and (done == total or time.monotonic() - self._printed_at > QUIET_SECONDS):
            self._print(f"data: {done} of {total} images decoded")
            self._printed_at = time.monotonic()

    def step(self, epoch: int, epochs: int, step: int, steps: int) -> None:
        """Note how far a training is; see `StepLog`."""
        self.pace.step(Position(epoch, epochs, step, steps))

    def at_work(self, doing: str) -> None:
        """Note what else is being done, such as measuring; shown if it takes long."""
        self.doing = doing

    def epoch(self, epoch: Epoch) -> None:
        """Show one epoch."""
        self.event("epoch", index=self.index, **vars(epoch))
        self.pace.epoch(epoch)
        anew = f"  statistics of {epoch.norms_estimated} norms estimated anew" if epoch.norms_estimated else ""
        self._text = f"loss {epoch.loss:.4f}  validation {epoch.metric:.4f}"
        is_due = self.verbose or epoch.epoch in (1, epoch.epochs)
        if not self.quiet and not self._bar and (is_due or time.monotonic() - self._printed_at > QUIET_SECONDS):
            left = duration((epoch.epochs - epoch.epoch) * epoch.seconds)
            self._print(f"{self.stage}: epoch {epoch.epoch}/{epoch.epochs}  {self._text}{anew}  {left} left")
            self._printed_at = time.monotonic()

    def _print(self, line: str) -> None:
        self.console.print(line, highlight=False, markup=False, soft_wrap=True)
        self._silent_since = time.monotonic()

    def _tick(self) -> None:
        with suppress(OSError, ValueError):  # nobody reads stderr, or it is closed: the run itself will notice
            while not self._over.wait(TICK_SECONDS):
                self.show_life()

    def show_life(self) -> None:
        """Move the bar to where the training is, or print a line if none was printed for long."""
        at, left = self.pace.at, self.pace.seconds_left()
        what = str(at) if at else self.doing
        if left is not None:
            what += f"  {duration(left)} left"
        if self._bar:
            self._advance(at, what)
        elif what and time.monotonic() - self._silent_since > (VERBOSE_SECONDS if self.verbose else SILENT_SECONDS):
            self._print(f"{self.stage}: {what}".removeprefix(": "))

    def _advance(self, at: Position | None, what: str) -> None:
        assert self._bar
        if self._task is None:
            self._task = self._bar.add_task(self.stage, total=None, say="")
        total, done = (at.epochs * at.steps, at.steps_done) if at else (None, 0)
        say = printable("  ".join(part for part in (what, self._text) if part))
        self._bar.update(self._task, description=self.stage, total=total, completed=done, say=say)
