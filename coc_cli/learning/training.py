"""How to train, and what a training logs; the loop is in loop.py. No torch here."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, Protocol, runtime_checkable

from pydantic import Field

from coc_cli.frozen import Frozen

if TYPE_CHECKING:
    from torch import Tensor

    from coc_cli.nets.network import Network


class Training(Frozen):
    """How to train; the keys stand in a stage beside its own."""

    later: ClassVar[frozenset[str]] = frozenset(
        ("final_lr", "norm_lr", "scale_lr", "average", "label_smoothing", "keep")
    )  # keys that the first version did not have

    epochs: Annotated[int, Field(ge=0, le=1_000_000, description="passes over the training images")] = 30
    batch: Annotated[int, Field(ge=2, le=1_000_000, description="images per step")] = 64
    optimizer: Annotated[Literal["sgd", "adamw"], Field(description="sgd has Nesterov momentum 0.9")] = "adamw"
    lr: Annotated[float, Field(gt=0, le=100, description="peak learning rate; warms up, then falls along a cosine")] = (
        2e-3
    )
    weight_decay: Annotated[
        float, Field(ge=0, le=100, description="of weights only, not of norms, biases and scales")
    ] = 1e-4
    warmup: Annotated[float, Field(ge=0, le=1, description="share of the steps in which the rate rises")] = 0.1
    final_lr: Annotated[float, Field(ge=0, le=1, description="share of the peak rate at which the cosine ends")] = 0.01
    norm_lr: Annotated[
        float, Field(ge=0, le=1000, description="rate of norms and biases, as a multiple of that of weights")
    ] = 1.0
    scale_lr: Annotated[
        float, Field(ge=0, le=1000, description="rate of the scales of quantisers, as such a multiple")
    ] = 1.0
    average: Annotated[
        float,
        Field(
            ge=0,
            lt=1,
            description="share that averaged weights keep at each step (EMA), as 0.999: these are measured and saved;"
            " 0: no average",
        ),
    ] = 0.0
    label_smoothing: Annotated[
        float, Field(ge=0, lt=1, description="probability that is spread over all classes, in the task's own loss")
    ] = 0.0
    keep: Annotated[
        Literal["best", "last"],
        Field(
            description="the weights of which epoch: best on validation; last, where the network has seen those images"
        ),
    ] = "best"
    on_divergence: Annotated[
        Literal["stop", "retry"], Field(description="retry: begin again once, at a quarter of the learning rate")
    ] = "stop"

    def epochs_of(self, part: int, parts: int) -> int:
        """Return how many of the epochs are a part's, from 0, where so many parts share them equally."""
        return self.epochs * (part + 1) // parts - self.epochs * part // parts

    def recorded(self) -> dict[str, Any]:
        """Return the settings for a checkpoint's lineage: those of the first version, and what is not default."""
        changed = self.model_dump(mode="json", exclude_defaults=True)
        every = self.model_dump(mode="json")
        return {name: value for name, value in every.items() if name not in self.later or name in changed}


@dataclass(frozen=True)
class Batch:
    """The inputs of a loss beside the network."""

    inputs: Tensor  # normalised, [B, C, H, W]
    targets: Tensor  # classes [B] (mixed: their probabilities [B, C]), or numbers [B, T] in their own units
    teacher_output: Tensor | None = None  # of a teacher that was asked before, float32 [B, K]
    features: tuple[Tensor, ...] | None = None  # what the heads read, in place of inputs, where it was kept


Loss = Callable[["Network", Batch], "Tensor"]


@dataclass(frozen=True)
class Epoch:
    """The log entry of one epoch."""

    epoch: int
    epochs: int
    loss: float
    metric: float  # on validation, mean over exits
    seconds: float
    norms_estimated: int = 0  # norms whose statistics were estimated anew, as too few steps went by
    restored: bool = False  # reported again after a resume, not trained now


class EpochLog(Protocol):
    """A listener to a training."""

    def __call__(self, epoch: Epoch) -> None: ...


@runtime_checkable
class StepLog(EpochLog, Protocol):
    """A listener that is told of every step, too; the step behind the last is the validation."""

    def step(self, epoch: int, epochs: int, step: int, steps: int) -> None:
        """Note that a step of an epoch begins; all count from 0, and `step` equals `steps` at the validation."""


def derived_seed(*parts: object) -> int:
    """Return a seed that depends on every part and on nothing else."""
    return int.from_bytes(hashlib.sha256("/".join(map(str, parts)).encode()).digest()[:7], "little")
