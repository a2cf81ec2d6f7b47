"""torch's orthogonal parametrization."""

import torch.nn as nn
from torch.nn.utils.parametrizations import orthogonal


def net(outputs, channels):
    return nn.Sequential(
        nn.Conv2d(channels, 16, 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(16, 16, 3, padding=1),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        orthogonal(nn.Linear(16, 16)),
        nn.ReLU(),
        nn.Linear(16, outputs),
    )
