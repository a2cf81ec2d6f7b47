"""What a stage's training tells, kept for its result and passed on to those who show or log it."""

from __future__ import annotations

from dataclasses import dataclass, field

from coc_cli.chain.logging import RunLogging
from coc_cli.chain.progress import Reporter
from coc_cli.learning.training import Epoch


@dataclass
class StageLog:
    """A listener to the trainings of one stage; see `StepLog`."""

    reporter: Reporter
    stage: str  # its folder in the run directory
    logging: RunLogging
    history: list[Epoch] = field(default_factory=list)

    def __call__(self, epoch: Epoch) -> None:
        """Keep an epoch; one that a resumed state brings is not shown again."""
        self.history.append(epoch)
        if not epoch.restored:
            self.reporter.epoch(epoch)
        self.logging.epoch(self.stage, epoch, restored=epoch.restored)

    def step(self, epoch: int, epochs: int, step: int, steps: int) -> None:
        """Pass on how far a training is."""
        self.reporter.step(epoch, epochs, step, steps)

    @property
    def trained(self) -> list[Epoch]:
        """The epochs that were trained now."""
        return [epoch for epoch in self.history if not epoch.restored]
