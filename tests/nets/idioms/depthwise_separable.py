"""Depthwise separable convolutions, channel multiplier 2."""

import torch.nn as nn


def separable(inp, oup, stride=1):
    return nn.Sequential(
        nn.Conv2d(inp, 2 * inp, 3, stride, 1, groups=inp, bias=False),
        nn.BatchNorm2d(2 * inp),
        nn.ReLU6(),
        nn.Conv2d(2 * inp, oup, 1, bias=False),
        nn.BatchNorm2d(oup),
        nn.ReLU6(),
    )


def net(outputs, channels):
    body = [separable(16, 16), separable(16, 32, 2)]
    return nn.Sequential(
        nn.Conv2d(channels, 16, 3, padding=1), *body, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(32, outputs)
    )
