"""The one training loop: every stage that learns calls `fit`.

Resumable by construction: the random numbers of an epoch depend on (seed, epoch) alone and the learning rate on the
step alone, so the state after an epoch is just weights, their average, optimizer and the best epoch so far.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from coc_cli.data.images import Data
from coc_cli.data.settings import Augment
from coc_cli.errors import RunError
from coc_cli.learning.average import Average
from coc_cli.learning.evaluation import learning
from coc_cli.learning.feeds import Feed, Live, smoothed
from coc_cli.learning.norm_statistics import refresh_statistics
from coc_cli.learning.own_functions import own_functions
from coc_cli.learning.training import Batch, Epoch, EpochLog, Loss, StepLog, Training, derived_seed
from coc_cli.learning.training_state import TrainingState, not_finite
from coc_cli.nets.arithmetic import FLOAT32, Arithmetic
from coc_cli.nets.layers import Scaled
from coc_cli.nets.lsq import check_compiler
from coc_cli.nets.network import Network

SLOWER = 0.25  # times the learning rate of a training that diverged, where it may begin again


def learning_rate(settings: Training, step: int, steps: int) -> float:
    """Return the learning rate of a step: a linear warm-up, then a cosine down to the final rate."""
    rising = settings.warmup * steps
    if step < rising:
        return settings.lr * (step + 1) / (rising + 1)
    progress = (step - rising) / max(1.0, steps - rising)
    return settings.lr * (settings.final_lr + (1 - settings.final_lr) * 0.5 * (1 + math.cos(math.pi * progress)))


def _optimizer(network: Network, settings: Training) -> torch.optim.Optimizer:
    """Return the optimizer, of three groups: weights, norms and biases, scales of quantisers; only weights decay."""
    learned = [p for p in network.parameters() if p.requires_grad]
    scales = {id(p) for module in network.modules() if isinstance(module, Scaled) for p in module.scales}
    parts = {
        "weights": [p for p in learned if p.dim() > 1],
        "norms": [p for p in learned if p.dim() <= 1 and id(p) not in scales],
        "scales": [p for p in learned if p.dim() <= 1 and id(p) in scales],
    }
    factors = {"weights": 1.0, "norms": settings.norm_lr, "scales": settings.scale_lr}
    groups: list[dict[str, Any]] = [
        {"params": of, "weight_decay": settings.weight_decay * (name == "weights"), "factor": factors[name]}
        for name, of in parts.items()
    ]
    if settings.optimizer == "sgd":
        return torch.optim.SGD(groups, lr=settings.lr, momentum=0.9, nesterov=True, fused=True)
    return torch.optim.AdamW(groups, lr=settings.lr, fused=True)


def _one_pass(
    network: Network,
    feed: Feed,
    settings: Training,
    loss: Loss,
    optimizer: torch.optim.Optimizer,
    epoch: int,
    *,
    seed: int,
    log: EpochLog,
    arithmetic: Arithmetic = FLOAT32,
    average: Average | None = None,
) -> float:
    """Train on every image once and return the mean loss; all random numbers come from (seed, epoch)."""
    step_log = log.step if isinstance(log, StepLog) else _unheard
    torch.manual_seed(derived_seed(seed, epoch))
    generator = torch.Generator().manual_seed(derived_seed(seed, epoch, "data"))
    network.train()
    total, images = torch.zeros((), device=network.device), 0
    smoothing = settings.label_smoothing if own_functions().loss is None else 0.0
    count, batches = feed.batches(epoch, settings.batch, generator)
    for place, fed in enumerate(batches):
        step_log(epoch, settings.epochs, place, count)
        step = epoch * count + place
        rate = learning_rate(settings, step, settings.epochs * count)
        for group in optimizer.param_groups:
            group["lr"] = rate * group["factor"]
        targets = fed.targets
        if smoothing and network.spec.task == "classification":
            targets = smoothed(targets, smoothing, len(network.spec.labels))
        with network.computing(arithmetic):
            value = loss(network, Batch(network.normalise(fed.images), targets, fed.teacher_output, fed.features))
        optimizer.zero_grad(set_to_none=True)
        value.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        if average:
            average.add(step)
        total += value.detach() * len(targets)
        images += len(targets)
    step_log(epoch, settings.epochs, count, count)
    return float(total) / images


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
    arithmetic: Arithmetic = FLOAT32,
    feed: Feed | None = None,
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
        arithmetic: Of the steps; evaluation is in float32.
        feed: Where batches come from, if not from images that are changed anew in every epoch.

    Raises:
        RunError: If loss or weights are no longer finite; the last state in which they were stays.
    """
    if arithmetic.compiled and (what := check_compiler(network.device.type)):
        raise RunError(f"quantisers can no longer be compiled: {what}; begin anew with --fresh, or precision: float32")
    feed = feed or Live(data.train, augment, seed, len(network.spec.labels))
    optimizer, average = _optimizer(network, settings), Average.of(network, settings.average)
    start = {name: tensor.clone() for name, tensor in network.state_dict().items()}, optimizer.state_dict()
    key = derived_seed(seed, settings.model_dump_json(), arithmetic)
    training = TrainingState(network, optimizer, average, state, key, warn)
    training.resume(log)
    while (epoch := len(training.history)) < settings.epochs:
        began = time.monotonic()
        slower = settings.model_copy(update={"lr": settings.lr * SLOWER}) if training.is_slowed else settings
        options: dict[str, Any] = {"seed": seed, "log": log, "arithmetic": arithmetic, "average": average}
        mean = _one_pass(network, feed, slower, loss, optimizer, epoch, **options)
        if what := _ended(training, data, settings, mean, began, seed=seed, log=log):
            warn(_next_try(settings, epoch, slower.lr, what, is_slowed=training.is_slowed))
            training.start_again(*start)
    training.load_best()


def _ended(
    training: TrainingState, data: Data, settings: Training, mean: float, began: float, *, seed: int, log: EpochLog
) -> str:
    """Measure the network, or its average, after an epoch; keep and log it, or return what is not finite."""
    network, epoch = training.network, len(training.history)
    with training.average.standing_in():
        anew = refresh_statistics(network, data.train, epoch + 1, batch=settings.batch, seed=seed)
        result = learning(network, data.validation)
        if what := _divergence(network, mean, result.negative_loss):
            return what
        finished = Epoch(epoch + 1, settings.epochs, mean, result.value, time.monotonic() - began, anew)
        figure = (result.score, result.negative_loss)
        training.add(finished, figure if settings.keep == "best" else (epoch, 0.0))
    training.save()
    log(finished)
    return ""


def _next_try(settings: Training, epoch: int, rate: float, what: str, *, is_slowed: bool) -> str:
    """Return what to say of a training that diverged and may begin again; raises `RunError` if it may not."""
    text = f"training diverged in epoch {epoch + 1} of {settings.epochs} at a peak rate of {rate:g}: {what}"
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
