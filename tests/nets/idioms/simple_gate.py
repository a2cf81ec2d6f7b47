"""NAFNet's SimpleGate: chunk and multiply."""

import torch.nn as nn


class SimpleGate(nn.Module):
    def forward(self, x):
        x1, x2 = x.chunk(2, dim=1)
        return x1 * x2


def net(outputs, channels):
    return nn.Sequential(
        nn.Conv2d(channels, 32, 3, padding=1),
        SimpleGate(),
        nn.Conv2d(16, 32, 3, padding=1),
        SimpleGate(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(16, outputs),
    )
