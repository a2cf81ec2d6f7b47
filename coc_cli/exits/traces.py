"""What all exits say of all images of a split, kept once; policies then are array work. numpy only, no torch."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import TypeAlias

import numpy as np

from coc_cli.dvfs.energy import Array

NEVER_CONFIDENT = -np.inf


@dataclass(frozen=True)
class Shifted:
    """A measure of confidence from which each exit asks for its own least value; so 0 is enough at every exit.

    `least` [E] is on the scale of `stretched`: infinity where an exit is not kept, minus infinity where all leave.
    """

    base: str
    least: tuple[float, ...]

    @property
    def kept(self) -> tuple[int, ...]:
        """The exits at which an input may leave before the final output."""
        return tuple(exit_ for exit_, least in enumerate(self.least) if least < np.inf and exit_ <= self.last)

    @property
    def last(self) -> int:
        """The exit at which every input that comes so far leaves."""
        return next((exit_ for exit_, least in enumerate(self.least) if least == -np.inf), len(self.least))

    def of(self, confidence: Array) -> Array:
        """Return how far confidence [E, N] of the base lies above what is asked for."""
        least = np.array(self.least)[:, None]
        finite = np.where(np.isinf(least), 0.0, least)
        shifted: Array = np.where(np.isinf(least), -least, stretched(confidence, self.base) - finite)
        return shifted

    def reported(self) -> list[float | None]:
        """Return the least confidence of each kept exit, on the base's own scale."""
        return [None if np.isinf(least) else relaxed(least, self.base) for least in (self.least[e] for e in self.kept)]


Measure: TypeAlias = str | Shifted


def logit(probability: Array) -> Array:
    """Return log(p / (1 - p)) of probabilities, kept away from 0 and 1."""
    clipped = np.clip(probability, 1e-7, 1 - 1e-7)
    result: Array = np.log(clipped / (1 - clipped))
    return result


def stretched(confidence: Array, measure: Measure) -> Array:
    """Return confidence on a scale on which steps near certainty count: the logit of probabilities, else the log."""
    if isinstance(measure, Shifted):
        return confidence
    if measure == "max_softmax":
        return logit(confidence)
    result: Array = -np.log(np.maximum(-confidence, 1e-9))
    return result


def relaxed(value: float, measure: str) -> float:
    """Return the confidence that `stretched` took to a value."""
    return float(1 / (1 + np.exp(-value)) if measure == "max_softmax" else -np.exp(-value))


@dataclass(frozen=True)
class Trace:
    """Outputs of E inner exits and the final one, [N, K] each; for numbers [N, T], or [N, 2T] with log-variances.

    `score` [E + 1, N] tells how well each exit answers each image: 1 or 0 for a class, minus the absolute error in the
    targets' unit for numbers.
    """

    outputs: tuple[Array, ...]
    targets: Array
    score: Array
    is_classes: bool
    answer: Array  # [E + 1, N] classes, or [E + 1, N, T] numbers in the targets' unit
    pooled: Array | None = None  # [E, N, P]: what is known of the features that each head pooled, if that was kept

    def __len__(self) -> int:
        return len(self.targets)

    @property
    def exits(self) -> int:
        """How many inner exits there are."""
        return len(self.outputs) - 1

    def rows(self, index: Array) -> Trace:
        """Return the trace of some of the images."""
        return Trace(
            tuple(output[index] for output in self.outputs),
            self.targets[index],
            self.score[:, index],
            self.is_classes,
            self.answer[:, index],
            None if self.pooled is None else self.pooled[:, index],
        )

    def joined(self, other: Trace) -> Trace:
        """Return the images of both; of the same network."""
        outputs = [np.concatenate(pair) for pair in zip(self.outputs, other.outputs, strict=True)]
        pooled = None
        if self.pooled is not None and other.pooled is not None:
            pooled = np.concatenate([self.pooled, other.pooled], 1)
        return Trace(
            tuple(outputs),
            np.concatenate([self.targets, other.targets]),
            np.concatenate([self.score, other.score], 1),
            self.is_classes,
            np.concatenate([self.answer, other.answer], 1),
            pooled,
        )

    @cached_property
    def probabilities(self) -> Array:
        """The softmax probabilities of every exit, largest first: [E + 1, N, C]; the order of classes is forgotten."""
        logits = np.sort(np.stack(self.outputs).astype(np.float64), axis=2)[:, :, ::-1]
        exponents = np.exp(logits - logits[:, :, :1])
        result: Array = exponents / exponents.sum(2, keepdims=True)
        return result

    @cached_property
    def entropy(self) -> Array:
        """The entropy of each exit's classes in nats, [E + 1, N]."""
        result: Array = -(self.probabilities * np.log(np.maximum(self.probabilities, 1e-30))).sum(2)
        return result

    def confidence(self, measure: Measure) -> Array:
        """Return the confidence of each inner exit, [E, N]; minus infinity where it can never be confident."""
        if measure not in self._known:
            if isinstance(measure, Shifted):
                self._known[measure] = measure.of(self.confidence(measure.base))
            else:
                self._known[measure] = _CONFIDENCE[measure](self)
        return self._known[measure]

    @cached_property
    def _known(self) -> dict[Measure, Array]:
        """Confidence by measure, computed once: policies ask for it at every exit."""
        return {}


def _variance(trace: Trace) -> Array:
    return np.stack([-np.exp(output[:, output.shape[1] // 2 :] / 2).mean(1) for output in trace.outputs[:-1]])


def _agreement(trace: Trace) -> Array:
    first = np.full((1, len(trace)), NEVER_CONFIDENT)
    steps = [-np.abs(now - before).mean(1) for before, now in zip(trace.outputs, trace.outputs[1:-1], strict=False)]
    return np.concatenate([first, np.stack(steps)]) if steps else first


def first_confident(trace: Trace, measure: Measure, threshold: float, after: int = -1) -> Array:
    """Return the first exit behind `after` that is confident enough, E where none is; [N]."""
    fires = trace.confidence(measure) >= threshold
    fires[: after + 1] = False
    first: Array = np.concatenate([fires, np.ones((1, len(trace)), dtype=bool)]).argmax(0)
    return first


_CONFIDENCE: dict[str, Callable[[Trace], Array]] = {
    "max_softmax": lambda trace: trace.probabilities[:-1, :, 0],
    "entropy": lambda trace: -trace.entropy[:-1],
    "variance": _variance,
    "agreement": _agreement,
}
