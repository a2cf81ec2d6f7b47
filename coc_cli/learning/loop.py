"""The one training loop: every stage that learns calls `fit`.

Resumable by construction: the random numbers of an epoch depend on (seed, epoch) alone and the learning rate on the
step alone, so the state after an epoch is just weights, optimizer and the best epoch so far.
"""

from __future__ import annotations

import io
import math
import time
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from coc_cli.data.images import Data, Split, augmented
from coc_cli.data.settings import Augment
from coc_cli.errors import RunError
from coc_cli.files.atomic import write_atomically
from coc_cli.learning.evaluation import learning
from coc_cli.learning.training import Batch, Epoch, EpochLog, Loss, Training, derived_seed
from coc_cli.nets.network import Network

IN_BFLOAT16 = ("cuda",)  # kinds of device; weights, their gradients and all evaluation stay in float32
FLOOR = 0.01  # the cosine ends at this fraction of the learning rate


def learning_rate(settings: Training, step: int, steps: int) -> float:
    """Return the learning rate of a step: a linear warm-up, then a cosine down to a hundredth."""
    rising = settings.warmup * steps
    if step < rising:
        return settings.lr * (step + 1) / (rising + 1)
    progress = (step - rising) / max(1.0, steps - rising)
    return settings.lr * (FLOOR + (1 - FLOOR) * 0.5 * (1 + math.cos(math.pi * progress)))


def _optimizer(network: Network, settings: Training) -> torch.optim.Optimizer:
    decayed = [p for p in network.parameters() if p.requires_grad and p.dim() > 1]
    free = [p for p in network.parameters() if p.requires_grad and p.dim() <= 1]
    groups: list[dict[str, Any]] = [
        {"params": decayed, "weight_decay": settings.weight_decay},
        {"params": free, "weight_decay": 0.0},
    ]
    if settings.optimizer == "sgd":
        return torch.optim.SGD(groups, lr=settings.lr, momentum=0.9, nesterov=True)
    return torch.optim.AdamW(groups, lr=settings.lr)


def mixed_precision(device_type: str) -> AbstractContextManager[Any]:
    """Return the context for computing a loss: convolutions and linear layers in bfloat16 where that is faster."""
    return torch.autocast(device_type, torch.bfloat16) if device_type in IN_BFLOAT16 else nullcontext()


def _one_pass(
    network: Network,
    train: Split,
    settings: Training,
    loss: Loss,
    optimizer: torch.optim.Optimizer,
    epoch: int,
    *,
    augment: Augment,
    seed: int,
) -> float:
    """Train on every image once and return the mean loss; all random numbers come from (seed, epoch)."""
    torch.manual_seed(derived_seed(seed, epoch))
    generator = torch.Generator().manual_seed(derived_seed(seed, epoch, "data"))
    network.train()
    total = torch.zeros((), device=train.targets.device)
    batches = list(train.shuffled(settings.batch, generator))
    for step, (images, targets) in enumerate(train.read(batches), epoch * len(batches)):
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(settings, step, settings.epochs * len(batches))
        inputs = network.normalise(augmented(images, augment, generator))
        with mixed_precision(inputs.device.type):
            value = loss(network, Batch(inputs, targets))
        optimizer.zero_grad(set_to_none=True)
        value.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        total += value.detach() * len(targets)
    return float(total) / len(train)


@dataclass
class _State:
    """The state of a training after an epoch, from which it resumes to the same end bit for bit."""

    network: Network
    optimizer: torch.optim.Optimizer
    history: list[dict[str, Any]] = field(default_factory=list)
    best: tuple[float, float] = (-math.inf, -math.inf)  # score and negative loss of the best epoch so far
    best_weights: dict[str, Tensor] | None = None

    def resume(self, path: Path) -> None:
        """Load a saved state, if there is one."""
        if not path.exists():
            return
        saved = torch.load(path, weights_only=True)
        self.network.load_state_dict(saved["network"])
        self.optimizer.load_state_dict(saved["optimizer"])
        self.best, self.best_weights, self.history = tuple(saved["best"]), saved["best_weights"], saved["history"]

    def add(self, epoch: Epoch, figure: tuple[float, float]) -> None:
        """Add an epoch; its weights are kept if it is the best so far, the later of two equal ones."""
        self.history.append({name: value for name, value in vars(epoch).items() if name != "restored"})
        if figure >= self.best:
            self.best = figure
            self.best_weights = {name: tensor.clone() for name, tensor in self.network.state_dict().items()}

    def save(self, path: Path) -> None:
        """Write the state, completely or not at all."""
        content = {
            "network": self.network.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "history": self.history,
            "best": self.best,
            "best_weights": self.best_weights,
        }
        buffer = io.BytesIO()
        torch.save(content, buffer)
        write_atomically(path, buffer.getvalue())


def fit(
    network: Network,
    data: Data,
    settings: Training,
    loss: Loss,
    *,
    augment: Augment,
    seed: int,
    state: Path,
    log: EpochLog,
) -> None:
    """Train a network in place.

    Args:
        network: On the data's device; left with the weights of the epoch that was best on validation (mean score over
            exits, then lowest loss).
        data: Only train and validation are used.
        settings: Epochs, batch size, optimizer and learning rate.
        loss: Called with the network and each batch; returns a scalar.
        augment: Random changes to the training images.
        seed: Of the order of images, their changes and all random numbers of the network.
        state: The file that holds the state after the last epoch; if it exists, training resumes from it, to the same
            end bit for bit.
        log: Called after every epoch, and again for those of a resumed state.

    Raises:
        RunError: If the loss is no longer finite.
    """
    if not settings.epochs:
        return
    training = _State(network, _optimizer(network, settings))
    training.resume(state)
    for earlier in training.history:
        log(Epoch(**earlier, restored=True))
    for epoch in range(len(training.history), settings.epochs):
        began = time.monotonic()
        mean = _one_pass(network, data.train, settings, loss, training.optimizer, epoch, augment=augment, seed=seed)
        if not math.isfinite(mean):
            raise RunError(f"training diverged in epoch {epoch + 1}: the loss is {mean}; a lower lr may help")
        result = learning(network, data.validation)
        finished = Epoch(epoch + 1, settings.epochs, mean, result.value, time.monotonic() - began)
        training.add(finished, (result.score, result.negative_loss))
        training.save(state)
        log(finished)
    assert training.best_weights is not None
    network.load_state_dict(training.best_weights)
