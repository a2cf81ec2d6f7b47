"""The base of every logger: a listener to a run. What it needs is imported inside its methods."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import ClassVar


@dataclass(frozen=True)
class RunAbout:
    """What a logger is told of a run before anything else."""

    directory: Path  # below which its files go
    name: str
    parameters: Mapping[str, str | int | float | bool]  # the recipe's keys with their defaults, dotted
    token: str  # tells this recipe in this directory from all others


@dataclass(frozen=True)
class EpochRow:
    """One pass of a stage over the training images."""

    stage: str  # the stage's folder, as in 01-distill
    epoch: int  # from 1
    loss: float
    metric: float  # on validation
    seconds: float
    restored: bool  # trained before this process began, or in another run

    @property
    def values(self) -> dict[str, float]:
        """The figures, by name."""
        return {"loss": self.loss, "metric": self.metric, "seconds": self.seconds}


@dataclass(frozen=True)
class StageRow:
    """The network after a stage, as report.json has it."""

    index: int  # 0 is the baseline
    stage: str
    values: Mapping[str, float]  # STAGE_VALUES, by name


STAGE_VALUES = ("metric_value", "macs", "bitops", "bitops_ratio", "checkpoint_bytes", "params")


class Logger(ABC):
    """A value of the recipe's `logger`. An error in a method ends the logging, never the run."""

    name: ClassVar[str]
    module: ClassVar[str] = ""  # that it imports; the extra of coc-cli that brings it has the logger's name
    place: ClassVar[str] = ""  # its file or folder below the run directory

    @classmethod
    def missing(cls) -> str | None:
        """Return what to install, if anything."""
        if not cls.module or find_spec(cls.module) is not None:
            return None
        return f"{cls.name} needs a package that is not installed: pip install 'coc-cli[{cls.name}]'"

    @abstractmethod
    def begin(self, about: RunAbout) -> None:
        """Begin a run. All its epochs and stages follow, those of earlier processes included."""

    @abstractmethod
    def epoch(self, row: EpochRow) -> None:
        """Log an epoch."""

    @abstractmethod
    def stage(self, row: StageRow) -> None:
        """Log a stage."""

    @abstractmethod
    def end(self, artefacts: Sequence[Path]) -> None:
        """End a run that is done, with the files that it leaves."""

    @abstractmethod
    def abort(self) -> None:
        """End a run that failed or was interrupted; it may go on in another process."""


class NoLogger(Logger):
    """Logs nothing: where a recipe has no logger, or after one failed."""

    def begin(self, about: RunAbout) -> None:
        pass

    def epoch(self, row: EpochRow) -> None:
        pass

    def stage(self, row: StageRow) -> None:
        pass

    def end(self, artefacts: Sequence[Path]) -> None:
        pass

    def abort(self) -> None:
        pass
