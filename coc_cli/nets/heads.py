"""The heads of inner exits."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from coc_cli.nets.names import head_part
from coc_cli.nets.spec import Exit

HIDDEN = 64
GRID = 2  # the histogram is taken in 2x2 regions


class BagOfFeatures(nn.Module):
    """Soft assignment of every pixel to codewords, averaged over regions.

    Passalis et al. 2020, "Efficient adaptive inference for deep CNNs using hierarchical early exits", as used by
    Predictive Exit (Li et al. 2023): (tanh(a x + c) + 1) / 2, normalised over codewords, so that halves cancel out,
    pooled to 2x2. The maps are large and each operation is a pass over memory, so there are as few as can be.
    """

    def __init__(self, codewords: int) -> None:
        super().__init__()
        self.gain = nn.Parameter(torch.ones(codewords))
        self.shift = nn.Parameter(torch.zeros(codewords))
        self.pool = nn.AdaptiveAvgPool2d(GRID)

    def forward(self, x: Tensor) -> Tensor:
        near = torch.addcmul(self.shift[:, None, None], x, self.gain[:, None, None]).tanh() + 1  # [N, K, H, W]
        pooled: Tensor = self.pool(near * near.sum(1, keepdim=True).clamp_min(1e-6).reciprocal())
        return pooled.flatten(1)  # [N, 4K]


class BofHead(nn.Module):
    """1x1 convolution to codewords, bag of features, two linear layers."""

    def __init__(self, channels: int, outputs: int, codewords: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, codewords, 1)
        self.bag = BagOfFeatures(codewords)
        self.hidden = nn.Linear(codewords * GRID**2, HIDDEN)
        self.relu = nn.ReLU()
        self.linear = nn.Linear(HIDDEN, outputs)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.linear(self.relu(self.hidden(self.bag(self.conv(x)))))
        return y


class PoolHead(nn.Module):
    """Global average pool and one linear layer: nearly free."""

    def __init__(self, channels: int, outputs: int) -> None:
        super().__init__()
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.flatten = nn.Flatten()
        self.linear = nn.Linear(channels, outputs)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.linear(self.flatten(self.pool(x)))
        return y


def reads(index: int, place: Exit, channels: int, outputs: int) -> dict[str, dict[str, int]]:
    """Return, for a spec's `modules`, the sizes of a head's first layer on a backbone pruned to so many channels."""
    if place.head == "bof":
        return {head_part(index, "conv"): {"in": channels, "out": place.codewords, "groups": 1}}
    return {head_part(index, "linear"): {"in": channels, "out": outputs}}


def make_head(place: Exit, outputs: int) -> nn.Module:
    """Return the head of an exit, from [N, channels, H, W] to [N, outputs]."""
    if place.head == "bof":
        return BofHead(place.channels, outputs, place.codewords)
    return PoolHead(place.channels, outputs)
