"""How long each part of a network takes on this machine: backbone segments and heads by themselves, batch 1."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
import torch

from coc_cli.dvfs.energy import Array
from coc_cli.nets.network import build, without_quantizers
from coc_cli.nets.segments import split_heads

if TYPE_CHECKING:
    from torch import Tensor

    from coc_cli.nets.network import Network
    from coc_cli.nets.segments import Segment

Work: TypeAlias = Callable[[], object]
LEAST_ROUNDS = 20  # however long they take: a p95 needs so many
WARM_UP = 0.2  # of the time for the rounds


@dataclass(frozen=True)
class Times:
    """What rounds of works took; each round does every work once, in order, so that a drift of speed hits all alike."""

    ms: Array  # [rounds, works]
    warm_up: int  # rounds before them

    @property
    def median_ms(self) -> Array:
        """Return the medians, [works]."""
        return np.asarray(np.median(self.ms, 0))

    @property
    def p95_ms(self) -> Array:
        """Return the 95th percentiles, [works]."""
        return np.asarray(np.percentile(self.ms, 95, axis=0))


def timed(works: Sequence[Work], seconds: float, wait: Work = lambda: None) -> Times:
    """Time works in turn for so many seconds after a warm-up; `wait` returns when the device has done all of it."""
    warm_up = len(list(_rounds(works, seconds * WARM_UP, 3, wait)))
    return Times(np.array(list(_rounds(works, seconds, LEAST_ROUNDS, wait))), warm_up)


def _rounds(works: Sequence[Work], seconds: float, least: int, wait: Work) -> Iterator[list[float]]:
    began, count = time.monotonic(), 0
    while count < least or time.monotonic() - began < seconds:
        yield [_once_ms(work, wait) for work in works]
        count += 1


def _once_ms(work: Work, wait: Work) -> float:
    wait()
    began = time.perf_counter_ns()
    work()
    wait()
    return (time.perf_counter_ns() - began) / 1e6


def synchronizer(device: str) -> Work:
    """Return the function that returns when a device has done all that it was given."""
    if device.startswith("cuda"):
        return lambda: torch.cuda.synchronize(device)
    return lambda: None


def synchronized(work: Work, wait: Work) -> Work:
    """Return a work that ends when the device has done it."""

    def done() -> None:
        work()
        wait()

    return done


@contextmanager
def threads(count: int | None) -> Iterator[int]:
    """Let torch compute with so many threads (None: as many as it would), without gradients; gives their number."""
    before = torch.get_num_threads()
    torch.set_num_threads(count or before)
    try:
        with torch.inference_mode():
            yield count or before
    finally:
        torch.set_num_threads(before)


def float_network(network: Network) -> Network:
    """Return the network without quantisers, which torch only imitates in floating point and more slowly than that."""
    if not (network.spec.bits or network.spec.edges):
        return network
    float_copy, tensors = build(without_quantizers(network.spec)), network.state_dict()
    float_copy.load_state_dict({name: tensors[name] for name in float_copy.state_dict()})
    return float_copy.to(network.get_buffer("_mean").device).eval()


def parts(network: Network) -> tuple[list[Work], Work]:
    """Return the works of a network in eval mode on one random image: its parts as they run, and all of it in one go.

    After each segment of the backbone comes the head behind it; the last segment has none.
    """
    generator = torch.Generator().manual_seed(0)
    image = torch.randint(0, 256, (1, *network.spec.input_shape), generator=generator, dtype=torch.uint8)
    x = network.normalise(image)
    segments, heads = split_heads(network.graph)
    values = dict(zip(segments[0].inputs, [x], strict=True))
    for segment in segments:
        values |= zip(segment.outputs, segment.run(network, *_read(segment, values)), strict=True)
    pairs = [[segment, *heads[index : index + 1]] for index, segment in enumerate(segments)]
    return [_work(network, part, values) for pair in pairs for part in pair], lambda: network(x)


def _read(segment: Segment, values: dict[str, Tensor]) -> list[Tensor]:
    return [values[name] for name in segment.inputs]


def _work(network: Network, segment: Segment, values: dict[str, Tensor]) -> Work:
    inputs = _read(segment, values)
    return lambda: segment.run(network, *inputs)
