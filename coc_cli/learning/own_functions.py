"""Functions of the user's own, given in Python: a loss, a metric, an augmentation; active while their run lasts."""

from __future__ import annotations

import functools
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
SIMPLE = (str, bytes, int, float, complex, bool, type(None))


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
        if not name.isidentifier():
            return "own_metric"  # a lambda
        return f"own_{name}" if name in TAKEN else name

    def fingerprint(self) -> dict[str, str]:
        """Return a checksum of the source of each, with its defaults and what it has closed over, or holds.

        What a function calls is not part of it.
        """
        texts = {name: _Description().of(function) for name, function in self.given.items()}
        return {name: hashlib.sha256(text.encode()).hexdigest()[:32] for name, text in texts.items()}

    def warnings(self) -> Iterator[str]:
        """Yield a sentence for each whose source, or what it holds, cannot be had, so that a change goes unnoticed."""
        for name, function in self.given.items():
            description = _Description()
            description.of(function)
            if description.unknown:
                what = f"its {description.unknown[0]} cannot be had, so the stage cache does not notice when it changes"
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


class _Description:
    """A function, or an object that is called, in words that change where it does; what it cannot see is noted."""

    def __init__(self) -> None:
        self.unknown: list[str] = []
        self._seen: set[int] = set()

    def of(self, value: Any) -> str:
        """Describe a value and what it holds."""
        import numpy as np

        if isinstance(value, SIMPLE):
            return repr(value)
        if id(value) in self._seen:
            return "again"
        self._seen.add(id(value))
        if isinstance(value, tuple | list | set | frozenset):
            return f"{type(value).__name__}{[self.of(each) for each in value]}"
        if isinstance(value, dict):
            return f"dict{[(self.of(key), self.of(each)) for key, each in value.items()]}"
        if hasattr(value, "detach") and hasattr(value, "cpu"):
            value = value.detach().cpu().numpy()
        if isinstance(value, np.ndarray):
            return f"{value.dtype}{value.shape}{hashlib.sha256(np.ascontiguousarray(value).tobytes()).hexdigest()}"
        return self._of_code(value)

    def _of_code(self, value: Any) -> str:
        if isinstance(value, functools.partial):
            return f"partial{[self.of(each) for each in (value.func, value.args, value.keywords)]}"
        if inspect.ismethod(value):
            return f"method{[self.of(value.__func__), self.of(value.__self__)]}"
        if inspect.isfunction(value):
            held = [value.__defaults__, value.__kwdefaults__, *map(_content, value.__closure__ or ())]
            return "\n".join([self._source(value), *map(self.of, held)])
        if inspect.ismodule(value) or inspect.isclass(value) or inspect.isbuiltin(value):
            return f"{type(value).__name__} {getattr(value, '__qualname__', value.__name__)}"
        if hasattr(value, "__dict__"):
            return f"{self._source(type(value))}{self.of(vars(value))}"
        self.unknown.append(type(value).__name__)
        return type(value).__qualname__

    def _source(self, value: Any) -> str:
        name = f"{value.__module__}.{value.__qualname__}"
        try:
            return f"{name} {textwrap.dedent(inspect.getsource(value))}"
        except (OSError, TypeError):
            self.unknown.append("source")
            return name


def _content(cell: Any) -> Any:
    try:
        return cell.cell_contents
    except ValueError:  # a name that is not assigned yet
        return None
