"""Throughput, bandwidth and overhead that explain measured times best: the model of `energy.py` read backwards."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.optimize import nnls

from coc_cli.dvfs.energy import Array

GAIN = 1e-9  # what a division of the parts must explain better, relatively, to be preferred to one before it


@dataclass(frozen=True)
class Sample:
    """A part of a network that was timed by itself."""

    name: str
    macs: float
    bytes: float  # weights and tensors that it moves
    is_head: bool
    time_ms: float


@dataclass(frozen=True)
class Fit:
    """What explains the times; None stands for a number on which no part's time depends."""

    throughput_gmacs: float | None  # 1e9 multiply-accumulates a second
    bandwidth_gbs: float | None  # 1e9 bytes a second
    overhead_us: float | None  # of each head
    model_ms: tuple[float, ...]  # by part
    error: tuple[float, ...]  # by part: model / measured - 1

    @property
    def is_tested(self) -> bool:
        """Return whether there are more times than numbers fitted to them; if not, small errors mean nothing."""
        numbers = (self.throughput_gmacs, self.bandwidth_gbs, self.overhead_us)
        return len(self.error) > sum(number is not None for number in numbers)

    @property
    def median_error(self) -> float:
        return float(np.median(np.abs(self.error)))

    @property
    def largest_error(self) -> float:
        return float(np.abs(self.error).max())


def fit(samples: Sequence[Sample]) -> Fit:
    """Fit time = max(MACs / throughput, bytes / bandwidth) + overhead of a head, by least squares of relative errors.

    Parts with many MACs a byte wait for arithmetic, the others for memory. For each place at which that order can be
    divided the fit is linear; the division that explains the times best wins, the one with fewer memory-bound parts
    where two are alike. No number is below 0.
    """
    macs, moved = np.array([one.macs for one in samples]), np.array([one.bytes for one in samples])
    heads, time = np.array([one.is_head for one in samples], float), np.array([one.time_ms for one in samples])
    best, least = np.zeros(3), float(len(samples))  # a model of nothing but zeros is wrong by 1 everywhere
    for computing in _divisions(macs, moved):
        columns = np.stack([macs * computing, moved * ~computing, heads], 1) / time[:, None]
        costs = _non_negative(columns)
        wrong = float((((_model_ms(costs, macs, moved, heads) - time) / time) ** 2).sum())
        if wrong < least * (1 - GAIN) - GAIN**2:
            best, least = costs, wrong
    model = _model_ms(best, macs, moved, heads)
    return Fit(
        1e-6 / float(best[0]) if best[0] > 0 else None,
        1e-6 / float(best[1]) if best[1] > 0 else None,
        1e3 * float(best[2]) if heads.any() else None,
        tuple(model.tolist()),
        tuple((model / time - 1).tolist()),
    )


def _divisions(macs: Array, moved: Array) -> Iterator[Array]:
    """Return every set [parts] of parts that may wait for arithmetic while the others wait for memory."""
    intensity = np.divide(macs, moved, out=np.full(len(macs), np.inf), where=moved > 0)
    yield np.full(len(macs), True)
    for most in np.unique(intensity):
        yield intensity > most


def _model_ms(costs: Array, macs: Array, moved: Array, heads: Array) -> Array:
    return np.asarray(np.maximum(costs[0] * macs, costs[1] * moved) + costs[2] * heads)


def _non_negative(columns: Array) -> Array:
    """Return the x [3] of least squares of columns x = 1 of which none is below 0 (Lawson and Hanson 1974)."""
    scale = np.linalg.norm(columns, axis=0)
    scale[scale == 0] = 1.0
    solution, _ = nnls(columns / scale, np.ones(len(columns)))
    return np.asarray(solution / scale)


def non_limiting_rates(samples: Sequence[Sample], fitted: Fit) -> tuple[float, float]:
    """Return the throughput (GMAC/s) and the bandwidth (GB/s) from which on they hold up no part, given the other.

    0 where nothing can be said. For a number that the fit leaves open.
    """
    slowest_gmacs = slowest_gbs = 0.0
    for one in samples:
        if fitted.bandwidth_gbs and one.bytes:
            slowest_gmacs = max(slowest_gmacs, one.macs / one.bytes * fitted.bandwidth_gbs)
        if fitted.throughput_gmacs and one.macs:
            slowest_gbs = max(slowest_gbs, one.bytes / one.macs * fitted.throughput_gmacs)
    return slowest_gmacs, slowest_gbs
