"""Turns of several networks in rounds, and what follows from them: medians, ratios with intervals, a busy machine.

A machine with other work takes time away from whoever runs longest, so ratios of wall times flatter the small network.
CPU time does not count what is taken away; where the two part, the machine is called busy.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from coc_cli.intervals import middle_95, resampled_indices

TURN_MS, LEAST_ROUNDS = 75.0, 7
LONGEST_PASS_MS, LEAST_BATCHES = 400.0, 32  # of a network with exits, whose turns are whole passes over the images
BUSY = 1.10  # wall by CPU time


@dataclass(frozen=True)
class Turn:
    """Some runs of one network behind each other."""

    cpu_ns: int  # of all runs together
    wall_ns: tuple[int, ...]  # of each


class Runner(Protocol):
    """A network that is ready, in its own process."""

    cpu_ns: int  # that a run takes, about
    batches: int  # that it has
    has_exits: bool

    def turn(self, calls: int, batches: int) -> Turn:
        """Run it so many times over its first batches."""


@dataclass(frozen=True)
class Times:
    """What a network took, in ms for one batch."""

    median: float  # wall
    p95: float  # wall
    cpu_median: float  # of the means of turns, so that every image counts
    speedup: float  # of CPU time, against the first network
    speedup_ci95: tuple[float, float]
    stretch: float  # wall by CPU time


def batches_for(runners: Sequence[Runner]) -> int:
    """Return over how many batches all run, so that a pass of a network with exits does not take too long."""
    batches = min(runner.batches for runner in runners)
    slowest_ms = max((runner.cpu_ns / 1e6 for runner in runners if runner.has_exits), default=0.0)
    while batches > LEAST_BATCHES and batches * slowest_ms > LONGEST_PASS_MS:
        batches //= 2
    return batches


def calls_for(runner: Runner, batches: int) -> int:
    """Return how many runs a turn has: what takes about 75 ms, with exits in whole passes over the images."""
    calls = max(1, round(TURN_MS * 1e6 / max(runner.cpu_ns, 1)))
    return -(-calls // batches) * batches if runner.has_exits else calls


def rounds(
    runners: Sequence[Runner], batches: int, seconds: float, clock: Callable[[], float] = time.monotonic
) -> list[list[Turn]]:
    """Return the turns [runner][round]; each round begins with the next runner, so that no place favours one."""
    calls = [calls_for(runner, batches) for runner in runners]
    turns: list[list[Turn]] = [[] for _ in runners]
    began, number = clock(), 0
    while number < LEAST_ROUNDS or clock() - began < seconds:
        for step in range(len(runners)):
            place = (number + step) % len(runners)
            turns[place].append(runners[place].turn(calls[place], batches))
        number += 1
    return turns


def times(turns: Sequence[Turn], first: Sequence[Turn]) -> Times:
    """Return what a network took, set against the turns of the first in the same rounds."""
    cpu_ms, base_ms = _cpu_ms(turns), _cpu_ms(first)
    wall_ms = np.concatenate([turn.wall_ns for turn in turns]) / 1e6
    mean_ms = np.array([np.mean(turn.wall_ns) for turn in turns]) / 1e6
    samples = (np.median(base_ms[rows]) / np.median(cpu_ms[rows]) for rows in resampled_indices(len(cpu_ms)))
    return Times(
        median=float(np.median(wall_ms)),
        p95=float(np.percentile(wall_ms, 95)),
        cpu_median=float(np.median(cpu_ms)),
        speedup=float(np.median(base_ms) / np.median(cpu_ms)),
        speedup_ci95=(1.0, 1.0) if turns is first else middle_95(samples),
        stretch=float(np.median(mean_ms) / np.median(cpu_ms)),
    )


def _cpu_ms(turns: Sequence[Turn]) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    return np.array([turn.cpu_ns / len(turn.wall_ns) / 1e6 for turn in turns])


def busy_by(found: Sequence[Times]) -> float:
    """Return wall by CPU time of the slowest network; above `BUSY` the machine has other work."""
    return max(found, key=lambda one: one.cpu_median).stretch
