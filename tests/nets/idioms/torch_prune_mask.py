"""torch.nn.utils.prune left its masks and hooks in."""

import torch.nn as nn
from torch.nn.utils import prune


def net(outputs, channels):
    conv = nn.Conv2d(16, 16, 3, padding=1)
    prune.random_unstructured(conv, "weight", 0.3)
    return nn.Sequential(
        nn.Conv2d(channels, 16, 3, padding=1),
        nn.ReLU(),
        conv,
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(16, outputs),
    )
