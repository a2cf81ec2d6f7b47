"""The one training loop: every stage that learns calls `fit`.

Resumable by construction: the random numbers of an epoch depend on (seed, epoch) alone and the learning rate on the
step alone, so the state after an epoch is the weights, the optimizer and the best epoch so far.
"""

from __future__ import annotations

import hashlib
import io
import math
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, Protocol

from pydantic import Field

from coc_cli.errors import RunError
from coc_cli.frozen import Frozen

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from coc_cli.data.images import Data, Split
    from coc_cli.data.settings import Augment
    from coc_cli.nets.network import Network

IN_BFLOAT16 = ("cuda",)  # kinds of device; weights, their gradients and all evaluation stay in float32
FLOOR = 0.01  # the cosine ends at this share of the learning rate


class Training(Frozen):
    """How to train; the keys stand in a stage beside its own."""

    epochs: Annotated[int, Field(ge=0, le=1_000_000, description="passes over the training images")] = 30
    batch: Annotated[int, Field(ge=2, le=1_000_000, description="images per step")] = 64
    optimizer: Literal["sgd", "adamw"] = "adamw"
    lr: Annotated[float, Field(gt=0, description="peak learning rate; warms up, then falls along a cosine")] = 2e-3
    weight_decay: Annotated[float, Field(ge=0, description="of weights only, not of norms, biases and scales")] = 1e-4
    warmup: Annotated[float, Field(ge=0, le=1, description="share of the steps in which the rate rises")] = 0.1


@dataclass(frozen=True)
class Batch:
    """What a loss may look at."""

    inputs: Tensor  # normalised, [B, C, H, W]
    targets: Tensor  # classes [B], or numbers [B, T] in their own units


Loss = Callable[["Network", Batch], "Tensor"]


@dataclass(frozen=True)
class Epoch:
    """What is logged of one pass."""

    epoch: int
    epochs: int
    loss: float
    metric: float  # on validation, mean over exits
    seconds: float
    restored: bool = False  # told again after a resume, not trained now


class EpochLog(Protocol):
    """Whoever listens to the training."""

    def __call__(self, epoch: Epoch) -> None: ...


def derived_seed(*parts: object) -> int:
    """Give a seed that depends on every part, and on nothing else."""
    return int.from_bytes(hashlib.sha256("/".join(map(str, parts)).encode()).digest()[:7], "little")


def learning_rate(settings: Training, step: int, steps: int) -> float:
    """Give the rate of a step: a linear rise, then a cosine down to a hundredth."""
    rising = settings.warmup * steps
    if step < rising:
        return settings.lr * (step + 1) / (rising + 1)
    share = (step - rising) / max(1.0, steps - rising)
    return settings.lr * (FLOOR + (1 - FLOOR) * 0.5 * (1 + math.cos(math.pi * share)))


def _optimizer(network: Network, settings: Training) -> torch.optim.Optimizer:
    import torch

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
    """Give the context in which a loss is taken: convolutions and linear layers in bfloat16 where that is faster."""
    import torch

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
    """Train on every image once and give the mean loss; all random numbers come from (seed, epoch)."""
    import torch

    from coc_cli.data.images import augmented

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
    """Train in place and leave the weights of the epoch that was best on validation (metric, then lowest loss).

    `state` is where the last epoch is kept; a loop that finds one there goes on from it, to the same end bit for bit.
    Raises `RunError` when the loss is no longer a number.
    """
    import torch

    from coc_cli.files.atomic import write_atomically
    from coc_cli.learning.evaluation import learning

    if not settings.epochs:
        return
    optimizer = _optimizer(network, settings)
    best, best_weights = (-math.inf, -math.inf), None
    history: list[dict[str, Any]] = []
    if state.exists():
        kept = torch.load(state, weights_only=True)
        network.load_state_dict(kept["network"])
        optimizer.load_state_dict(kept["optimizer"])
        best, best_weights = tuple(kept["best"]), kept["best_weights"]
        history = kept["history"]
        for told in history:
            log(Epoch(**told, restored=True))
    for epoch in range(len(history), settings.epochs):
        began = time.monotonic()
        mean = _one_pass(network, data.train, settings, loss, optimizer, epoch, augment=augment, seed=seed)
        if not math.isfinite(mean):
            raise RunError(f"training diverged in epoch {epoch + 1}: the loss is {mean}; a lower lr may help")
        result = learning(network, data.validation)
        if (result.score, result.negative_loss) >= best:
            best = (result.score, result.negative_loss)
            best_weights = {name: tensor.clone() for name, tensor in network.state_dict().items()}
        seconds = time.monotonic() - began
        passed = Epoch(epoch + 1, settings.epochs, mean, result.value, seconds)
        history.append({name: value for name, value in vars(passed).items() if name != "restored"})
        kept = {
            "network": network.state_dict(),
            "optimizer": optimizer.state_dict(),
            "history": history,
            "best": best,
            "best_weights": best_weights,
        }
        buffer = io.BytesIO()
        torch.save(kept, buffer)
        write_atomically(state, buffer.getvalue())
        log(passed)
    assert best_weights is not None
    network.load_state_dict(best_weights)
