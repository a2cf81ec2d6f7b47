"""Functions of the user's own, given in Python: a loss, a metric, an augmentation; active while their run lasts."""

from __future__ import annotations

import hashlib
import inspect
import textwrap
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any, TypeAlias

OwnLoss: TypeAlias = Callable[[Any, Any], Any]
OwnMetric: TypeAlias = Callable[[Any, Any], Any]
OwnAugmentation: TypeAlias = Callable[[Any, Any], Any]
TAKEN = ("accuracy", "mae")  # metrics of coc's own
SIMPLE = (str, int, float, bool, type(None), tuple)


@dataclass(frozen=True)
class OwnFunctions:
    """What takes the place of the task's own.

    Attributes:
        loss: `loss(output, targets)` of an exit's output, [B, C] or [B, T], and targets, [B] or [B, T] in their own
            units; gives a scalar tensor.
        metric: `metric(answers, targets)` of answers and targets, [N] or [N, T]; gives a score [N] for each image, of
            which more is better. Its mean is the metric of epochs, thresholds, limits and reports.
        augment: `augment(images, generator)` of uint8 images [B, C, H, W] and the epoch's `torch.Generator`, from which
            all that is random must be drawn; gives images of the same shape and type.
    """

    loss: OwnLoss | None = None
    metric: OwnMetric | None = None
    augment: OwnAugmentation | None = None

    @property
    def given(self) -> dict[str, Callable[..., Any]]:
        """Those that are there, by name."""
        return {name: function for name, function in vars(self).items() if function is not None}

    @property
    def metric_name(self) -> str:
        """How reports call the metric."""
        name = getattr(self.metric, "__name__", type(self.metric).__name__)
        return f"own_{name}" if name in TAKEN else name

    def fingerprint(self) -> dict[str, str]:
        """Return a checksum of the source of each, with its defaults and the plain values that it has closed over.

        What a function calls is not part of it.
        """
        return {name: _fingerprint(function) for name, function in self.given.items()}

    def warnings(self) -> Iterator[str]:
        """Yield a sentence for each whose source cannot be had, so that a change to it goes unnoticed."""
        for name, function in self.given.items():
            if _source(function) is None:
                what = "its source cannot be had, so the stage cache does not notice when it changes"
                yield f"own {name}: {what}; use fresh=True then"


NONE = OwnFunctions()
_ACTIVE: ContextVar[OwnFunctions] = ContextVar("own_functions", default=NONE)


def own_functions() -> OwnFunctions:
    """Return the functions of the run that is going on."""
    return _ACTIVE.get()


@contextmanager
def active(functions: OwnFunctions) -> Iterator[None]:
    """Let a run use some functions."""
    token = _ACTIVE.set(functions)
    try:
        yield
    finally:
        _ACTIVE.reset(token)


def _source(function: Callable[..., Any]) -> str | None:
    try:
        return textwrap.dedent(inspect.getsource(function))
    except (OSError, TypeError):
        try:
            return inspect.getsource(type(function)) if not inspect.isroutine(function) else None
        except (OSError, TypeError):
            return None


def _fingerprint(function: Callable[..., Any]) -> str:
    name = f"{getattr(function, '__module__', '')}.{getattr(function, '__qualname__', type(function).__qualname__)}"
    cells = [cell.cell_contents for cell in getattr(function, "__closure__", None) or ()]
    values = [*(getattr(function, "__defaults__", None) or ()), *cells]
    plain = [repr(value) for value in values if isinstance(value, SIMPLE)]
    text = "\n".join([_source(function) or name, *plain])
    return hashlib.sha256(text.encode()).hexdigest()[:32]
