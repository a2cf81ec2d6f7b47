"""GhostNet's module: cheap maps beside the first ones, the surplus sliced off."""

import torch
import torch.nn as nn


class Ghost(nn.Module):
    def __init__(self, inp, oup):
        super().__init__()
        self.oup = oup
        self.primary = nn.Sequential(nn.Conv2d(inp, 9, 1, bias=False), nn.BatchNorm2d(9), nn.ReLU(inplace=True))
        self.cheap = nn.Sequential(
            nn.Conv2d(9, 9, 3, 1, 1, groups=9, bias=False), nn.BatchNorm2d(9), nn.ReLU(inplace=True)
        )

    def forward(self, x):
        x1 = self.primary(x)
        x2 = self.cheap(x1)
        return torch.cat([x1, x2], dim=1)[:, : self.oup, :, :]


def net(outputs, channels):
    return nn.Sequential(
        nn.Conv2d(channels, 16, 3, padding=1),
        Ghost(16, 16),
        Ghost(16, 16),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(16, outputs),
    )
