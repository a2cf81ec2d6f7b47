"""A hundred residual blocks in a row."""

import torch.nn as nn


class Block(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.conv = nn.Conv2d(width, width, 1, bias=False)

    def forward(self, x):
        return x + 0.1 * self.conv(x).relu()


def net(outputs, channels):
    blocks = [Block(8) for _ in range(100)]
    return nn.Sequential(
        nn.Conv2d(channels, 8, 3, padding=1), *blocks, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, outputs)
    )
