"""Weights & Biases; WANDB_MODE=offline keeps all in the run directory, WANDB_PROJECT names another project."""

from __future__ import annotations

import importlib
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

from coc_cli.loggers.logger import EpochRow, Logger, RunAbout, StageRow

PROJECT = "coc"


class Wandb(Logger):
    """A run of the project "coc"; one for each process, each complete, those of one recipe and directory in a group."""

    name: ClassVar[str] = "wandb"
    module: ClassVar[str] = "wandb"
    place: ClassVar[str] = "wandb"

    def options(self, about: RunAbout) -> dict[str, Any]:
        """Return what is special to the package that is imported."""
        settings = importlib.import_module(self.module).Settings(silent=True)
        return {"dir": str(about.directory), "group": about.token, "settings": settings}

    def begin(self, about: RunAbout) -> None:
        project = os.environ.get("WANDB_PROJECT") or PROJECT
        config = dict(about.parameters)
        wandb = importlib.import_module(self.module)
        self.run: Any = wandb.init(project=project, name=about.name, config=config, **self.options(about))

    def epoch(self, row: EpochRow) -> None:
        figures = {f"{row.stage}/{name}": value for name, value in row.values.items()}
        self.run.log({**figures, f"{row.stage}/epoch": row.epoch, f"{row.stage}/restored": int(row.restored)})

    def stage(self, row: StageRow) -> None:
        self.run.log({"stages/index": row.index, **{f"stages/{name}": value for name, value in row.values.items()}})

    def end(self, artefacts: Sequence[Path]) -> None:
        kept = importlib.import_module(self.module).Artifact("run", type="run")
        for path in artefacts:
            kept.add_file(str(path))
        self.run.log_artifact(kept)
        self.run.finish()

    def abort(self) -> None:
        self.run.finish(exit_code=1)
