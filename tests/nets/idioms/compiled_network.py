"""The whole network under torch.compile."""

import torch
import torch.nn as nn


def net(outputs, channels):
    model = nn.Sequential(
        nn.Conv2d(channels, 16, 3),
        nn.ReLU(),
        nn.Conv2d(16, 16, 3),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(16, outputs),
    )
    return torch.compile(model)
