"""Deep copies of one layer with weight_norm, which share its class."""

import copy
import torch.nn as nn
from torch.nn.utils.parametrizations import weight_norm


def net(outputs, channels):
    conv = weight_norm(nn.Conv2d(16, 16, 3, padding=1))
    body = [layer for _ in range(2) for layer in (copy.deepcopy(conv), nn.ReLU())]
    return nn.Sequential(
        nn.Conv2d(channels, 16, 3, padding=1), *body, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(16, outputs)
    )
