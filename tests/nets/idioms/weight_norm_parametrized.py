"""weight_norm as a parametrization."""

import torch.nn as nn
from torch.nn.utils.parametrizations import weight_norm


def net(outputs, channels):
    return nn.Sequential(
        weight_norm(nn.Conv2d(channels, 16, 3, padding=1)),
        nn.ReLU(),
        weight_norm(nn.Conv2d(16, 16, 3, padding=1)),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        weight_norm(nn.Linear(16, outputs)),
    )
