"""Masks values: x[x < 0] = 0, by an index of booleans."""

import torch
import torch.nn as nn


class Net(nn.Module):
    def __init__(self, outputs, channels):
        super().__init__()
        self.conv = nn.Conv2d(channels, 16, 3, padding=1)
        self.fc = nn.Linear(16, outputs)

    def forward(self, x):
        x = self.conv(x)
        x[x < 0] = 0
        return self.fc(x.mean((2, 3)))
