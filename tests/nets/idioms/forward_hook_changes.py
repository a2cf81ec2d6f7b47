"""A forward hook that changes a layer's output."""

import torch
import torch.nn as nn


def net(outputs, channels):
    conv = nn.Conv2d(channels, 16, 3, padding=1)
    conv.register_forward_hook(lambda module, inputs, output: output * 2)
    return nn.Sequential(conv, nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(16, outputs))
