"""Counting multiply-accumulates."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from coc_cli.nets.graph import WEIGHTED


def layer_macs(module: nn.Module, x: torch.Tensor) -> dict[str, int]:
    """Count multiply-accumulates of every convolution and linear layer, by name, for one run on x [1, C, H, W].

    A layer that is called twice counts twice. Module and x may lie on the meta device: nothing is computed then.
    """
    macs: dict[str, int] = {}
    hooks = []
    for name, layer in module.named_modules():
        if isinstance(layer, WEIGHTED):
            macs[name] = 0

            def count(layer: nn.Module, _: Any, output: torch.Tensor, name: str = name) -> None:
                assert isinstance(layer.weight, torch.Tensor)
                macs[name] += output.numel() * layer.weight[0].numel()

            hooks.append(layer.register_forward_hook(count))
    with torch.no_grad():
        module(x)
    for hook in hooks:
        hook.remove()
    return macs
