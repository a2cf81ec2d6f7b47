"""The whole network under torch.jit.script."""

import torch
import torch.nn as nn


def net(outputs, channels):
    model = nn.Sequential(
        nn.Conv2d(channels, 16, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(16, outputs)
    )
    return torch.jit.script(model)
