"""From a network to traces and a workload; the only part of this folder, beside the fitting, that needs torch."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from coc_cli.dvfs.energy import Work, Workload
from coc_cli.exits.traces import Trace
from coc_cli.learning.evaluation import scored
from coc_cli.learning.tasks import task_of
from coc_cli.nets.cost import LayerCost, cost
from coc_cli.nets.names import head_part

if TYPE_CHECKING:
    from torch import Tensor

    from coc_cli.data.images import Split
    from coc_cli.dvfs.profile import Kind
    from coc_cli.nets.network import Network
    from coc_cli.nets.spec import Spec

INTEGER_BITS = 8  # up to so many run as int8
OF_A_BAG = 10  # operations on an element: scaled, shifted, tanh (4), raised, summed, divided, pooled
NEAR_ZERO = 0.02  # of the mean size of an input's features


def collect_traces(network: Network, split: Split) -> Trace:
    """Run a network once over a split and keep what every exit says."""
    task = task_of(network.spec)
    with _capture_head_inputs(network) as pooled:
        outputs, score = scored(network, split)
    return Trace(
        tuple(output.float().cpu().numpy() for output in outputs),
        split.targets.cpu().numpy(),
        score.cpu().numpy(),
        network.spec.task == "classification",
        torch.stack([task.answers(output) for output in outputs]).cpu().numpy(),
        np.stack([np.concatenate(batches) for batches in pooled]),
    )


@contextmanager
def _capture_head_inputs(network: Network) -> Iterator[list[list[Any]]]:
    """Collect, while a network runs, a summary [n, P] of what each head's last layer reads, by exit and batch."""
    pooled: list[list[Any]] = [[] for _ in network.spec.exits]

    def listener(index: int) -> Any:
        return lambda _, read: pooled[index].append(_summary(read[0]).cpu().numpy())

    layers = [network.get_submodule(head_part(index, "linear")) for index in range(len(pooled))]
    handles = [layer.register_forward_pre_hook(listener(index)) for index, layer in enumerate(layers)]
    try:
        yield pooled
    finally:
        for handle in handles:
            handle.remove()


def _summary(features: Tensor) -> Tensor:
    """Return mean, deviation and largest of pooled features [n, F], and the fraction that is not near 0; [n, 4].

    No more than 4 F additions, so a prediction costs hardly more for it.
    """
    size = features.abs().mean(1, keepdim=True)
    active = (features > NEAR_ZERO * size).float().mean(1)
    return torch.stack([features.mean(1), features.std(1, correction=0), features.amax(1), active], 1)


def workload(spec: Spec) -> Workload:
    """Return what each part of a network does for one input.

    Bytes are the weights, read once, and each layer's output, written once and read once. A layer whose weights and
    input have 8 bits or fewer runs as int8 with a byte a number, any other in fp32 with four. What a bag of features
    does with each element of its map counts as operations.
    """
    layers = cost(spec).layers
    segments = [[layer for layer in layers if layer.segment == index] for index in range(len(spec.exits) + 1)]
    heads = [[layer for layer in part if layer.is_head] for part in segments[:-1]]
    kinds = [exit_.head for exit_ in spec.exits]
    return Workload(
        tuple(_work([layer for layer in part if not layer.is_head]) for part in segments),
        tuple(replace(_work(head), operations=_beside(kind, head)) for kind, head in zip(kinds, heads, strict=True)),
    )


def _beside(kind: str, head: list[LayerCost]) -> float:
    """Return the operations of a head beside its layers: those on the map of codewords, which its first layer gives."""
    return float(OF_A_BAG * math.prod(head[0].shape[1:])) if kind == "bof" and head and head[0].shape else 0.0


def _work(layers: list[LayerCost]) -> Work:
    macs: dict[Kind, float] = {}
    moved = 0.0
    for layer in layers:
        kind: Kind = "int8" if max(layer.weight_bits, layer.activation_bits) <= INTEGER_BITS else "fp32"
        size = 1 if kind == "int8" else 4
        macs[kind] = macs.get(kind, 0.0) + layer.macs
        moved += size * (layer.params + (2 * layer.macs / math.prod(layer.shape[1:]) if layer.shape else 0))
    return Work(macs, moved)
