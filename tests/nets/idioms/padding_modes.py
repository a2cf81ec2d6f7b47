"""Padding "same", "valid", reflect, circular and replicate."""

import torch.nn as nn


def net(outputs, channels):
    return nn.Sequential(
        nn.Conv2d(channels, 16, 3, padding="same"),
        nn.ReLU(),
        nn.Conv2d(16, 16, 4, padding="same", dilation=2),
        nn.ReLU(),
        nn.Conv2d(16, 16, 3, padding="valid"),
        nn.ReLU(),
        nn.Conv2d(16, 16, 3, padding=1, padding_mode="reflect"),
        nn.ReLU(),
        nn.Conv2d(16, 16, 3, padding=1, padding_mode="circular"),
        nn.ReLU(),
        nn.ReplicationPad2d(1),
        nn.Conv2d(16, 16, 3),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(16, outputs),
    )
