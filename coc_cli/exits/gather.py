"""From a network to traces and a workload; the only part of this folder, beside the fitting, that needs torch."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from coc_cli.dvfs.energy import Work, Workload
from coc_cli.exits.traces import Trace
from coc_cli.measure import LayerCost, cost, scored

if TYPE_CHECKING:
    from coc_cli.data.images import Split
    from coc_cli.dvfs.profile import Kind
    from coc_cli.nets.network import Network
    from coc_cli.nets.spec import Spec

INTEGER_BITS = 8  # up to so many run as int8


def gather(network: Network, split: Split) -> Trace:
    """Run a network once over a split and keep what every exit says."""
    import torch

    from coc_cli.tasks import task_of

    task, (given, score) = task_of(network.spec), scored(network, split)
    return Trace(
        tuple(output.float().cpu().numpy() for output in given),
        split.targets.cpu().numpy(),
        score.cpu().numpy(),
        network.spec.task == "classification",
        torch.stack([task.answers(output) for output in given]).cpu().numpy(),
    )


def workload(spec: Spec) -> Workload:
    """Give what each part of a network does for one input.

    Bytes are the weights, read once, and each layer's output, written once and read once. A layer whose weights and
    input have 8 bits or fewer runs as int8 with a byte a number, any other in fp32 with four.
    """
    layers = cost(spec).layers
    segments = [[layer for layer in layers if layer.segment == index] for index in range(len(spec.exits) + 1)]
    return Workload(
        tuple(_work([layer for layer in part if not layer.is_head]) for part in segments),
        tuple(_work([layer for layer in part if layer.is_head]) for part in segments[:-1]),
    )


def _work(layers: list[LayerCost]) -> Work:
    macs: dict[Kind, float] = {}
    moved = 0.0
    for layer in layers:
        kind: Kind = "int8" if max(layer.weight_bits, layer.activation_bits) <= INTEGER_BITS else "fp32"
        size = 1 if kind == "int8" else 4
        macs[kind] = macs.get(kind, 0.0) + layer.macs
        moved += size * (layer.params + 2 * layer.macs / math.prod(layer.shape[1:]))
    return Work(macs, moved)
