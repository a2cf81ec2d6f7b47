"""Moving the gains of norms into the layers before them."""

from __future__ import annotations

from collections import Counter
from typing import Any

import torch

from coc_cli.nets.layers import BATCH_NORM
from coc_cli.nets.network import Network


@torch.no_grad()
def fold_norms(network: Network) -> None:
    """Let each batch norm behind a layer only add a number to each channel, in place; outputs stay as they were.

    Then the steps of a layer's sums are its input's scale times its weights', without a gain. What is called more than
    once stays as it is.
    """
    calls = Counter(str(node.target) for node in network.graph.nodes if node.op == "call_module")
    for node in network.layer_nodes:
        if len(node.users) != 1:
            continue
        (user,) = node.users
        target = str(user.target)
        norm: Any = network.get_submodule(target) if user.op == "call_module" else None
        once = calls[target] == calls[str(node.target)] == 1
        if once and isinstance(norm, BATCH_NORM) and norm.running_mean is not None:
            _fold(network.get_submodule(str(node.target)), norm)


def _fold(layer: Any, norm: Any) -> None:
    gain = (norm.running_var + norm.eps).rsqrt() * (1 if norm.weight is None else norm.weight)
    shift = ((0 if layer.bias is None else layer.bias) - norm.running_mean) * gain
    shape = [1] * layer.weight.dim()
    shape[1 if getattr(layer, "transposed", False) else 0] = -1
    layer.weight *= gain.view(shape)
    if layer.bias is not None:
        layer.bias.zero_()
    norm.running_var.fill_(1 - norm.eps)
    norm.running_mean.zero_()
    if norm.weight is not None:
        norm.weight.fill_(1)
        norm.bias += shift
    else:
        norm.running_mean -= shift
