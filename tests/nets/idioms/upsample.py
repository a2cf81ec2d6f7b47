"""nn.Upsample, nearest and bilinear, and UpsamplingNearest2d."""

import torch.nn as nn


def net(outputs, channels):
    return nn.Sequential(
        nn.Conv2d(channels, 16, 3, stride=2, padding=1),
        nn.ReLU(),
        nn.Upsample(scale_factor=2, mode="bilinear", align_corners=True),
        nn.Conv2d(16, 16, 3, stride=2, padding=1),
        nn.ReLU(),
        nn.UpsamplingNearest2d(scale_factor=2),
        nn.Upsample(size=(8, 8)),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(16, outputs),
    )
