"""Trackio, which has the interface of Weights & Biases and keeps everything on this machine."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

from coc_cli.loggers.logger import RunAbout
from coc_cli.loggers.wandb import Wandb


class Trackio(Wandb):
    """A run of the project "coc" where trackio keeps its own (TRACKIO_DIR); its files are not copied."""

    name: ClassVar[str] = "trackio"
    module: ClassVar[str] = "trackio"
    place: ClassVar[str] = ""

    def options(self, about: RunAbout) -> dict[str, Any]:
        return {"group": about.token}

    def end(self, artefacts: Sequence[Path]) -> None:  # noqa: ARG002
        self.run.finish()

    def abort(self) -> None:
        self.run.finish()
