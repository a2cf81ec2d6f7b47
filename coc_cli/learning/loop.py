"""The one training loop: every stage that learns calls `fit`.

Resumable by construction: the random numbers of an epoch depend on (seed, epoch) alone and the learning rate on the
step alone, so the state after an epoch is just weights, optimizer and the best epoch so far.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from coc_cli.data.augmentation import augmented, mixed
from coc_cli.data.images import Data, Split
from coc_cli.data.settings import Augment
from coc_cli.errors import RunError
from coc_cli.learning.evaluation import learning
from coc_cli.learning.norm_statistics import refresh_statistics
from coc_cli.learning.own_functions import own_functions
from coc_cli.learning.training import Batch, Epoch, EpochLog, Loss, StepLog, Training, derived_seed
from coc_cli.learning.training_state import TrainingState, not_finite
from coc_cli.nets.network import Network

IN_BFLOAT16 = ("cuda",)  # kinds of device; weights, their gradients and all evaluation stay in float32
SLOWER = 0.25  # times the learning rate of a training that diverged, where it may begin again
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
    log: EpochLog,
) -> float:
    """Train on every image once and return the mean loss; all random numbers come from (seed, epoch)."""
    step_log = log.step if isinstance(log, StepLog) else _unheard
    torch.manual_seed(derived_seed(seed, epoch))
    generator = torch.Generator().manual_seed(derived_seed(seed, epoch, "data"))
    network.train()
    total = torch.zeros((), device=train.targets.device)
    batches = list(train.shuffled(settings.batch, generator))
    for place, (images, targets) in enumerate(train.read(batches)):
        step_log(epoch, settings.epochs, place, len(batches))
        step = epoch * len(batches) + place
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(settings, step, settings.epochs * len(batches))
        changed, wanted = _changed(images, augment, generator), targets
        if augment.mixup:
            classes = len(network.spec.labels)
            changed, wanted = mixed(changed, targets, augment.mixup, classes=classes, generator=generator)
        inputs = network.normalise(changed)
        with mixed_precision(inputs.device.type):
            value = loss(network, Batch(inputs, wanted))
        optimizer.zero_grad(set_to_none=True)
        value.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        total += value.detach() * len(targets)
    step_log(epoch, settings.epochs, len(batches), len(batches))
    return float(total) / len(train)


def _changed(images: Tensor, augment: Augment, generator: torch.Generator) -> Tensor:
    """Return the images of a batch, randomly changed, by the recipe's keys and then by a function of the user's own."""
    images, own = augmented(images, augment, generator), own_functions().augment
    if own is None:
        return images
    changed = own(images, generator)
    if not isinstance(changed, Tensor) or (changed.shape, changed.dtype) != (images.shape, images.dtype):
        raise RunError(f"own augmentation: must give uint8 images {list(images.shape)} as it was given")
    return changed


def _unheard(*_: int) -> None:
    pass


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
    warn: Callable[[str], None] = lambda _: None,
) -> None:
    """Train a network in place.

    Args:
        network: Left with the weights of the epoch that was best on validation (mean score of exits, then least loss).
        data: Only train and validation are used.
        settings: Epochs, batch size, optimizer and learning rate.
        loss: Called with the network and each batch; returns a scalar.
        augment: Random changes to the training images.
        seed: Of all random numbers.
        state: Where the last states are kept; training resumes from them, to the same end bit for bit.
        log: Called after every epoch, and again for those of a resumed state; a `StepLog` at every step, too.
        warn: Told of a state that cannot be used, and of a training that begins again more slowly.

    Raises:
        RunError: If loss or weights are no longer finite; the last state in which they were stays.
    """
    optimizer = _optimizer(network, settings)
    start = {name: tensor.clone() for name, tensor in network.state_dict().items()}, optimizer.state_dict()
    training = TrainingState(network, optimizer, state, derived_seed(seed, settings.model_dump_json()), warn)
    training.resume()
    for earlier in training.history:
        log(Epoch(**earlier, restored=True))
    while (epoch := len(training.history)) < settings.epochs:
        began = time.monotonic()
        slower = settings.model_copy(update={"lr": settings.lr * SLOWER}) if training.is_slowed else settings
        mean = _one_pass(network, data.train, slower, loss, optimizer, epoch, augment=augment, seed=seed, log=log)
        anew = refresh_statistics(network, data.train, epoch + 1, batch=settings.batch, seed=seed)
        result = learning(network, data.validation)
        if what := _divergence(network, mean, result.negative_loss):
            text = f"training diverged in epoch {epoch + 1} of {settings.epochs} at a peak rate of {slower.lr:g}"
            warn(_next_try(settings, f"{text}: {what}", is_slowed=training.is_slowed))
            training.start_again(*start)
            continue
        finished = Epoch(epoch + 1, settings.epochs, mean, result.value, time.monotonic() - began, anew)
        training.add(finished, (result.score, result.negative_loss))
        training.save()
        log(finished)
    training.load_best()


def _next_try(settings: Training, text: str, *, is_slowed: bool) -> str:
    """Return what to say of a training that diverged and may begin again; raises `RunError` if it may not."""
    if settings.on_divergence == "stop" or is_slowed:
        raise RunError(f"{text}; a lower lr may help, as may on_divergence: retry")
    return f"{text}; it begins again at {settings.lr * SLOWER:g}"


def _divergence(network: Network, loss: float, validation: float) -> str:
    """Return what is not finite after an epoch; empty if all is."""
    if not math.isfinite(loss):
        return f"the loss is {loss}"
    if name := not_finite(network):
        return f"'{name}' is not finite"
    return "" if math.isfinite(validation) else f"the validation loss is {-validation}"
