"""The progress of a run: a bar in a terminal, plain lines anywhere else, and log.jsonl."""

from __future__ import annotations

import json
import time
from datetime import datetime, timezone
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from coc_cli.files.atomic import append
from coc_cli.learning.training import Epoch
from coc_cli.units import printable

if TYPE_CHECKING:
    from typing_extensions import Self

QUIET_SECONDS = 5.0  # between two plain lines


class Reporter:
    """Reports a run; a context, so that the bar is removed whatever happens."""

    def __init__(self, log: Path, stages: int, console: Console | None = None) -> None:
        self.console = console or Console(stderr=True)
        self.log, self.stages = log, stages
        self.stage, self.index = "", 0
        self._printed_at = 0.0
        self._bar: Progress | None = None
        self._task: Any = None

    def __enter__(self) -> Self:
        if self.console.is_terminal:
            self._bar = Progress(
                TextColumn("[bold]{task.description}"),
                BarColumn(),
                TextColumn("{task.completed}/{task.total} epochs  {task.fields[say]}"),
                TimeRemainingColumn(),
                console=self.console,
                transient=True,
            )
            self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar:
            self._bar.stop()

    def event(self, event: str, **fields: Any) -> None:
        """Write one line to log.jsonl."""
        entry = {"time": datetime.now(timezone.utc).isoformat(timespec="milliseconds"), "event": event, **fields}
        append(self.log, json.dumps(entry).encode() + b"\n")

    def begin(self, index: int, name: str, key: str) -> None:
        """Begin a stage, to which the epochs that follow belong."""
        self.stage, self.index, self._printed_at = f"{index}/{self.stages} {name}", index, 0.0
        self.event("begin", index=index, stage=name, key=key)

    def say(self, text: str, *, event: str, **fields: Any) -> None:
        """Print a line and log it."""
        line = printable(f"{self.stage}: {text}".removeprefix(": "))
        self.console.print(line, highlight=False, markup=False, soft_wrap=True)
        self.event(event, index=self.index, **fields)

    def decoding(self, done: int, total: int) -> None:
        """Show how many images are decoded."""
        if done == total or time.monotonic() - self._printed_at > QUIET_SECONDS:
            self.console.print(f"data: {done} of {total} images decoded", highlight=False, markup=False, soft_wrap=True)
            self._printed_at = time.monotonic()

    def epoch(self, epoch: Epoch) -> None:
        """Show one epoch."""
        self.event("epoch", index=self.index, **vars(epoch))
        anew = f"  statistics of {epoch.norms_estimated} norms estimated anew" if epoch.norms_estimated else ""
        text = f"loss {epoch.loss:.4f}  validation {epoch.metric:.4f}{anew}"
        if self._bar:
            self._advance(epoch, text)
        elif epoch.epoch in (1, epoch.epochs) or time.monotonic() - self._printed_at > QUIET_SECONDS:
            seconds_left = (epoch.epochs - epoch.epoch) * epoch.seconds
            line = f"{self.stage}: epoch {epoch.epoch}/{epoch.epochs}  {text}  {seconds_left:.0f} s left"
            self.console.print(line, highlight=False, markup=False, soft_wrap=True)
            self._printed_at = time.monotonic()

    def _advance(self, epoch: Epoch, text: str) -> None:
        assert self._bar
        if self._task is None:
            self._task = self._bar.add_task(self.stage, total=epoch.epochs, say=text)
        self._bar.update(self._task, completed=epoch.epoch, total=epoch.epochs, say=text)
        if epoch.epoch == epoch.epochs:
            self._bar.remove_task(self._task)
            self._task = None
