"""TensorBoard's event files in the run directory: `tensorboard --logdir runs`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

from coc_cli.loggers.logger import EpochRow, Logger, RunAbout, StageRow

EVENTS = "events.out.tfevents.*"


class TensorBoard(Logger):
    """RUN/tensorboard: scalars of each epoch by stage, and of the stages, whose steps are their numbers."""

    name: ClassVar[str] = "tensorboard"
    module: ClassVar[str] = "tensorboard"
    place: ClassVar[str] = "tensorboard"

    def begin(self, about: RunAbout) -> None:
        from torch.utils.tensorboard import SummaryWriter

        folder = about.directory / self.place
        for path in folder.glob(EVENTS) if folder.is_dir() else ():  # of an earlier process: all is logged again
            path.unlink()
        self.writer = SummaryWriter(str(folder))
        table = [
            "| key | value |",
            "| --- | --- |",
            *(f"| {key} | {value} |" for key, value in about.parameters.items()),
        ]
        self.writer.add_text("recipe", "\n".join(table))

    def epoch(self, row: EpochRow) -> None:
        for name, value in row.values.items():
            self.writer.add_scalar(f"{row.stage}/{name}", value, row.epoch)
        if row.restored:
            self.writer.add_text(f"{row.stage}/restored", "trained before this process began", row.epoch)
        self.writer.flush()

    def stage(self, row: StageRow) -> None:
        for name, value in row.values.items():
            self.writer.add_scalar(f"stages/{name}", value, row.index)

    def end(self, artefacts: Sequence[Path]) -> None:
        self.writer.add_text("artefacts", "\n".join(f"- {path}" for path in artefacts))
        self.writer.close()

    def abort(self) -> None:
        self.writer.close()
