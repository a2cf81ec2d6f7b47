"""Counting multiply-accumulates."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

from torch import Tensor, nn
from torch.fx import Node

from coc_cli.nets.graph import WEIGHTED
from coc_cli.nets.network import Network
from coc_cli.nets.running import attribute, operation_of
from coc_cli.nets.shapes import node_values


def _matmul(output: Tensor, x: Tensor, *_: Any) -> int:
    return output.numel() * x.shape[-1]


def _added_matmul(output: Tensor, _: Tensor, x: Tensor, *__: Any) -> int:
    return output.numel() * x.shape[-1]


def _attention(_: Tensor, query: Tensor, key: Tensor, value: Tensor, *__: Any) -> int:
    scores = math.prod(query.shape[:-1]) * key.shape[-2]
    return int(scores * (query.shape[-1] + value.shape[-1]))


PRODUCTS: dict[str, Callable[..., int]] = {  # every operation of the kind `product`, from its output and its arguments
    "matmul": _matmul,
    "addmm": _added_matmul,
    "baddbmm": _added_matmul,
    "scaled_dot_product_attention": _attention,
}


def macs_by_node(network: Network) -> dict[Node, int]:
    """Count, for one image, the multiply-accumulates of every node that has some, in order.

    Convolutions and linear layers have, and products of two tensors; every other operation of the list is elementwise,
    pooling, a norm or a move and counts 0. Nothing is computed: the network lies on the meta device.
    """
    values = node_values(network)
    macs: dict[Node, int] = {}
    for node in network.graph.nodes:
        if node.op == "call_module" and isinstance(layer := attribute(network, str(node.target)), WEIGHTED):
            macs[node] = _layer_macs(layer, values[node.all_input_nodes[0].name], values[node.name])
        elif node.op == "call_function" and operation_of(node) in PRODUCTS:
            operands = [_value(arg, values) for arg in node.args]
            macs[node] = PRODUCTS[operation_of(node)](values[node.name], *operands)
    return macs


def _value(arg: Any, values: Mapping[str, Any]) -> Any:
    return values[arg.name] if isinstance(arg, Node) else arg


def _layer_macs(layer: nn.Module, x: Tensor, output: Tensor) -> int:
    weight = layer.weight
    assert isinstance(weight, Tensor)
    is_transposed = isinstance(layer, nn.modules.conv._ConvTransposeNd)  # noqa: SLF001  (no public name)
    return int((x if is_transposed else output).numel() * weight[0].numel())
