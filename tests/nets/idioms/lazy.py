"""Lazy layers that have not seen an image."""

import torch.nn as nn


def net(outputs):
    return nn.Sequential(
        nn.LazyConv2d(16, 3, padding=1),
        nn.LazyBatchNorm2d(),
        nn.ReLU(),
        nn.LazyConv2d(16, 3, padding=1),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.LazyLinear(outputs),
    )
