"""Small architectures that need something special."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class Fixed(nn.Module):
    """Reshapes to a width written into its code, so its first layer cannot lose channels."""

    def __init__(self, outputs: int, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, 8, 3, padding=1)
        self.linear = nn.Linear(8 * 64, outputs)

    def forward(self, x: Tensor) -> Tensor:
        return self.linear(self.conv(x).view(-1, 8 * 64))


class Branching(nn.Module):
    """Decides by the values it sees, which cannot be traced."""

    def __init__(self, outputs: int, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, 8, 3)
        self.linear = nn.Linear(8, outputs)

    def forward(self, x: Tensor) -> Tensor:
        y = self.conv(x).mean((2, 3))
        return self.linear(y if y.sum() > 0 else -y)


class Grouped(nn.Module):
    """A grouped convolution, a bare parameter and a concatenation; `flat` leaves a map of 2x2 before the classifier."""

    def __init__(self, outputs: int, channels: int) -> None:
        super().__init__()
        self.stem = nn.Conv2d(channels, 8, 3, padding=1)
        self.scale = nn.Parameter(torch.rand(1, 8, 1, 1) + 0.5)
        self.mix = nn.Conv2d(8, 8, 1)
        self.grouped = nn.Conv2d(8, 8, 3, padding=1, groups=2)
        self.left = nn.Conv2d(8, 12, 1)
        self.right = nn.Conv2d(8, 6, 1)
        self.relu = nn.ReLU()
        self.pool = nn.AdaptiveMaxPool2d(1)
        self.linear = nn.Linear(18, outputs)

    def forward(self, x: Tensor) -> Tensor:
        y = self.grouped(self.mix(self.relu(self.stem(x)) * self.scale))
        y = self.relu(torch.cat([self.left(y), self.right(y)], 1))
        return self.linear(self.pool(y).flatten(1))


def fixed(*, outputs: int, channels: int) -> nn.Module:
    return Fixed(outputs, channels)


def branching(*, outputs: int, channels: int) -> nn.Module:
    return Branching(outputs, channels)


def flat(*, outputs: int, channels: int) -> nn.Module:
    made = Grouped(outputs, channels)
    made.pool, made.linear = nn.MaxPool2d(4), nn.Linear(18 * 4, outputs)
    return made


def grouped(*, outputs: int, channels: int) -> nn.Module:
    return Grouped(outputs, channels)
