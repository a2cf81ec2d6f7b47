"""The shape of every tensor in a network, worked out on the meta device: no data, no memory, no arithmetic."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from coc_cli.errors import StageError
from coc_cli.nets.architectures import user_code_errors
from coc_cli.nets.network import Network, build
from coc_cli.nets.running import Program
from coc_cli.nets.spec import Spec

BATCHES = (1, 257)  # numbers of images; 257 is no size that a graph would name by chance
LARGEST_TENSOR = 1 << 24  # numbers that any network may make of one image, and
LARGEST_GROWTH = 512  # times those of the image: what larger networks may


def node_shapes(network: Network) -> dict[str, tuple[int, ...]]:
    """Return the shape of each node's tensor for a batch of one; the network lies on the meta device."""
    return {name: tuple(value.shape) for name, value in node_values(network).items() if isinstance(value, Tensor)}


def node_values(network: Network, batch: int = 1) -> dict[str, Any]:
    """Return the value of each node for a batch of images without content; the network lies on the meta device."""
    inputs = [node for node in network.graph.nodes if node.op == "placeholder"]
    nodes = [node for node in network.graph.nodes if node.op not in ("placeholder", "output")]
    network.eval()
    x = torch.empty(batch, *network.spec.input_shape, device="meta")
    with torch.no_grad():
        values = Program(nodes, inputs, (*inputs, *nodes))(network, x)
    return dict(zip((node.name for node in (*inputs, *nodes)), values, strict=True))


def check_sizes(network: Network) -> None:
    """Raise `StageError` unless a network, on the meta device, runs on images and no tensor is out of proportion.

    Each exit must give its numbers for each image, whatever their number.
    """
    limit = max(LARGEST_TENSOR, LARGEST_GROWTH * math.prod(network.spec.input_shape))
    output = network.graph.output_node().args[0]
    exits = output if isinstance(output, tuple) else (output,)
    counts = (*[network.spec.head_outputs] * len(network.spec.exits), len(network.spec.labels))
    for batch in BATCHES:
        values = node_values(network, batch)
        for name, value in values.items():
            if isinstance(value, Tensor) and value.numel() > limit * batch:
                raise StageError(f"node '{name}' makes {value.numel():,} numbers of {batch} images", "arch")
        for node, count in zip(exits, counts, strict=True):
            if (shape := tuple(getattr(values[str(node)], "shape", ()))) != (batch, count):
                raise StageError(f"'{node}' gives {shape} for {batch} images, not {count} numbers for each", "arch")


def check_runs(spec: Spec) -> None:
    """Raise `StageError` if a network cannot be made, traced or run on its images, or lacks one output per class."""
    network = build(spec, device="meta").eval()
    with user_code_errors(spec.arch, is_about_all=True):
        try:
            with torch.no_grad():
                outputs = network(torch.empty(1, *spec.input_shape, device="meta"))
        except (RuntimeError, ValueError, IndexError) as error:
            size = "x".join(map(str, spec.input_shape))
            raise StageError(f"cannot run on images of {size}: {str(error).splitlines()[0]}", "arch") from error
        if not network.layers:
            raise StageError("has no convolution or linear layer, so there is nothing to compress", "arch")
        counts = [*[spec.head_outputs] * len(spec.exits), len(spec.labels)]
        noun = "classes" if spec.task == "classification" else "targets"
        for output, count in zip(outputs, counts, strict=True):
            if output.shape != (1, count):
                got = "x".join(map(str, output.shape[1:])) or "a number without a dimension of its own"
                end = "; flatten it at the end" if output.numel() == count else ""
                raise StageError(f"gives {got} for an image, not one number for each of {count} {noun}{end}", "arch")
