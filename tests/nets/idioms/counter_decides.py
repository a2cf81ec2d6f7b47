"""Warms up: the first calls take another path."""

import torch
import torch.nn as nn


class Net(nn.Module):
    def __init__(self, outputs, channels):
        super().__init__()
        self.conv, self.conv2 = nn.Conv2d(channels, 16, 3, padding=1), nn.Conv2d(16, 16, 3, padding=1)
        self.fc = nn.Linear(16, outputs)
        self.counter = 0

    def forward(self, x):
        self.counter += 1
        x = torch.relu(self.conv(x))
        if self.counter > 100:
            x = torch.relu(self.conv2(x))
        return self.fc(x.mean((2, 3)))
