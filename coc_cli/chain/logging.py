"""The recipe's logger during a run: what it is told, and that its failure costs the run nothing."""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Callable, Sequence
from contextlib import redirect_stdout
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

from coc_cli.errors import first_line
from coc_cli.learning.training import Epoch
from coc_cli.loggers import LOGGERS
from coc_cli.loggers.logger import STAGE_VALUES, EpochRow, Logger, NoLogger, RunAbout, StageRow
from coc_cli.recipe.model import Recipe, resolved
from coc_cli.report.schema.run import StageEntry

if TYPE_CHECKING:
    from typing_extensions import Self


class RunLogging:
    """A context: the logger begins with it and ends or is broken off with it, and an error in it becomes a warning."""

    def __init__(self, recipe: Recipe, directory: Path, warn: Callable[[str], None]) -> None:
        self.recipe, self.directory, self.warn = recipe, directory, warn
        self._logger: Logger = LOGGERS[recipe.logger]() if recipe.logger else NoLogger()
        self._is_ended = False

    def __enter__(self) -> Self:
        text = f"{resolved(self.recipe)}\n{self.directory.resolve()}"
        token = hashlib.sha256(text.encode()).hexdigest()[:16]
        parameters = flattened(self.recipe.model_dump(mode="json", exclude_none=True))
        about = RunAbout(self.directory, self.recipe.name, parameters, token)
        self._try(lambda: self._logger.begin(about))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if not self._is_ended:
            self._try(self._logger.abort)

    def epoch(self, stage: str, epoch: Epoch, *, restored: bool) -> None:
        """Log an epoch of a stage, named by its folder."""
        row = EpochRow(stage, epoch.epoch, epoch.loss, epoch.metric, epoch.seconds, restored)
        self._try(lambda: self._logger.epoch(row))

    def end(self, stages: dict[str, StageEntry], artefacts: Sequence[Path]) -> None:
        """Log every stage, by its folder, and the files that are left, and end."""
        for name, entry in stages.items():
            row = StageRow(entry.index, name, {key: getattr(entry, key) for key in STAGE_VALUES})
            self._try(lambda row=row: self._logger.stage(row))  # type: ignore[misc]
        there = [path for path in artefacts if path.is_file()]
        self._is_ended = True
        self._try(lambda: self._logger.end(there))

    def _try(self, act: Callable[[], None]) -> None:
        """Do it; whatever goes wrong in a logger is said once, and then nothing is logged any more."""
        try:
            with redirect_stdout(sys.stderr):  # what a library prints is no result
                act()
        except Exception as error:  # noqa: BLE001  (the libraries behind loggers raise what they like)
            what = f"{type(error).__name__}: {first_line(error)}"
            self._logger = NoLogger()
            self.warn(f"warning: the logger {self.recipe.logger} failed and logs no more; the run goes on ({what})")


def flattened(content: Any, place: str = "") -> dict[str, str | int | float | bool]:
    """Return the values in nested mappings and lists by their dotted keys: chain.0.quantize.epochs."""
    if not isinstance(content, dict | list):
        return {place: content}
    items = content.items() if isinstance(content, dict) else enumerate(content)
    found: dict[str, str | int | float | bool] = {}
    for key, value in items:
        found |= flattened(value, f"{place}.{key}" if place else str(key))
    return found
