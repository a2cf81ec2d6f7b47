"""A table of all epochs and stages in the run directory; needs nothing."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

from coc_cli.files.atomic import append, write_atomically
from coc_cli.loggers.logger import STAGE_VALUES, EpochRow, Logger, RunAbout, StageRow

COLUMNS = ("stage", "epoch", "loss", "metric", "seconds", "restored", *STAGE_VALUES)


class Csv(Logger):
    """RUN/metrics.csv: a row for each epoch, and one without a number of an epoch for each stage."""

    name: ClassVar[str] = "csv"
    place: ClassVar[str] = "metrics.csv"

    def begin(self, about: RunAbout) -> None:
        self.path = about.directory / self.place
        write_atomically(self.path, _line(COLUMNS))

    def epoch(self, row: EpochRow) -> None:
        append(self.path, _row(stage=row.stage, epoch=row.epoch, **row.values, restored=str(row.restored).lower()))

    def stage(self, row: StageRow) -> None:
        append(self.path, _row(stage=row.stage, **row.values))

    def end(self, artefacts: Sequence[Path]) -> None:
        pass

    def abort(self) -> None:
        pass


def _row(**values: Any) -> bytes:
    return _line([values.get(column, "") for column in COLUMNS])


def _line(cells: Any) -> bytes:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerow(cells)
    return text.getvalue().encode()
