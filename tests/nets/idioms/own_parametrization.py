"""A parametrization of one's own: symmetric kernels."""

import torch.nn as nn
from torch.nn.utils import parametrize


class Symmetric(nn.Module):
    def forward(self, weight):
        return (weight + weight.flip(-1)) / 2


def net(outputs, channels):
    conv = nn.Conv2d(16, 16, 3, padding=1)
    parametrize.register_parametrization(conv, "weight", Symmetric())
    return nn.Sequential(
        nn.Conv2d(channels, 16, 3, padding=1),
        nn.ReLU(),
        conv,
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(16, outputs),
    )
