"""The state of a training between two epochs: kept in two files in turn, each with a checksum.

So a file that is damaged, cut or of another training costs an epoch or a stage's time, and never changes its end.
"""

from __future__ import annotations

import hashlib
import io
import math
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from coc_cli.files import budget
from coc_cli.files.atomic import write_atomically
from coc_cli.files.opening import read_bytes
from coc_cli.learning.average import Average
from coc_cli.learning.training import Epoch, EpochLog
from coc_cli.nets.network import Network

MAGIC = b"coc training state 1\n"
_DIGEST = hashlib.sha256().digest_size


@dataclass
class TrainingState:
    """Weights, average, optimizer and best epoch: all from which a training goes on to the same end, bit for bit."""

    network: Network
    optimizer: torch.optim.Optimizer
    average: Average
    path: Path  # of the files' common name; they end in .0.pt and .1.pt
    key: int  # tells this training from others
    warn: Callable[[str], None]
    history: list[dict[str, Any]] = field(default_factory=list)
    best: tuple[float, float] = (-math.inf, -math.inf)  # score and negative loss of the best epoch so far
    best_weights: dict[str, Tensor] | None = None
    is_slowed: bool = False  # whether it diverged once and began again at a lower learning rate

    @property
    def paths(self) -> tuple[Path, Path]:
        """The two files."""
        first, second = (self.path.with_name(f"{self.path.stem}.{turn}.pt") for turn in range(2))
        return first, second

    def resume(self, log: EpochLog) -> None:
        """Load the later of the saved states that are whole, and log its epochs again; warns of each that is not."""
        start = {name: tensor.clone() for name, tensor in self.network.state_dict().items()}
        start_optimizer = self.optimizer.state_dict()
        saved = [content for path in self.paths if (content := self._read(path)) is not None]
        for content in sorted(saved, key=lambda content: len(content["history"]), reverse=True):
            try:
                self.network.load_state_dict(content["network"])
                self.optimizer.load_state_dict(content["optimizer"])
                self.average.load(content["average"])
            except (KeyError, ValueError, RuntimeError, TypeError, AttributeError) as error:
                self.network.load_state_dict(start)
                self.optimizer.load_state_dict(start_optimizer)
                self.average.restart()
                self.warn(f"a training state does not fit and is left out: {str(error).splitlines()[0][:80]}")
                continue
            self.best, self.best_weights = tuple(content["best"]), content["best_weights"]
            self.history, self.is_slowed = content["history"], content["is_slowed"]
            for earlier in self.history:
                log(Epoch(**earlier, restored=True))
            return

    def _read(self, path: Path) -> dict[str, Any] | None:
        """Return a saved state of this training, None if there is none that is whole."""
        try:
            content = memoryview(read_bytes(path, budget.STATE_BYTES))
        except FileNotFoundError:
            return None
        except OSError as error:
            self._leave_out(path, f"cannot be read: {error.strerror}")
            return None
        body = content[len(MAGIC) + _DIGEST :]
        if content[: len(MAGIC)] != MAGIC or hashlib.sha256(body).digest() != content[len(MAGIC) : -len(body) or None]:
            self._leave_out(path, "is damaged")
            return None
        saved: dict[str, Any] = torch.load(io.BytesIO(body), weights_only=True)
        if saved.get("key") == self.key:
            return saved
        self._leave_out(path, "is of another training")
        return None

    def _leave_out(self, path: Path, why: str) -> None:
        self.warn(f"training state {path} {why}; training goes on from the one before, or from the stage's start")

    def add(self, epoch: Epoch, figure: tuple[float, float]) -> None:
        """Add an epoch; its weights are kept if it is the best so far, the later of two equal ones."""
        self.history.append({name: value for name, value in vars(epoch).items() if name != "restored"})
        if figure >= self.best:
            self.best = figure
            self.best_weights = {name: tensor.clone() for name, tensor in self.network.state_dict().items()}

    def load_best(self) -> None:
        """Load the weights of the best epoch."""
        if self.best_weights is not None:  # else there were no epochs
            self.network.load_state_dict(self.best_weights)

    def save(self) -> None:
        """Write the state, completely or not at all, over the older of the two."""
        content = {
            "key": self.key,
            "network": self.network.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "average": self.average.tensors,
            "history": self.history,
            "best": self.best,
            "best_weights": self.best_weights,
            "is_slowed": self.is_slowed,
        }
        buffer = io.BytesIO()
        torch.save(content, buffer)
        body = buffer.getvalue()
        write_atomically(self.paths[len(self.history) % 2], MAGIC + hashlib.sha256(body).digest() + body)

    def start_again(self, weights: dict[str, Tensor], optimizer: dict[str, Any]) -> None:
        """Go back to the start, slower from now on."""
        self.network.load_state_dict(weights)
        self.optimizer.load_state_dict(optimizer)
        self.average.restart()
        self.history.clear()
        self.best, self.best_weights, self.is_slowed = (-math.inf, -math.inf), None, True
        for path in self.paths:
            path.unlink(missing_ok=True)
        self.save()


def not_finite(network: Network) -> str | None:
    """Return the name of a weight, scale or statistic that is not finite throughout; None if all are."""
    state = {name: tensor for name, tensor in network.state_dict().items() if tensor.is_floating_point()}
    if not state or bool(torch.stack([tensor.detach().isfinite().all() for tensor in state.values()]).all()):
        return None
    return next(name for name, tensor in state.items() if not bool(tensor.isfinite().all()))
