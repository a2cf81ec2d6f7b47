"""The shape of every tensor in a network, worked out on the meta device: no data, no memory, no arithmetic."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.fx import Interpreter, Node

from coc_cli.nets.network import Network


class _Shapes(Interpreter):
    def __init__(self, network: Network) -> None:
        super().__init__(network, graph=network.graph)
        self.shapes: dict[str, tuple[int, ...]] = {}

    def run_node(self, n: Node) -> Any:
        result = super().run_node(n)
        if isinstance(result, Tensor):
            self.shapes[n.name] = tuple(result.shape)
        return result


def node_shapes(network: Network) -> dict[str, tuple[int, ...]]:
    """Give the shape of each node's tensor for a batch of one; the network lies on the meta device."""
    interpreter = _Shapes(network)
    network.eval()
    with torch.no_grad():
        interpreter.run(torch.empty(1, *network.spec.input_shape, device="meta"))
    return interpreter.shapes
