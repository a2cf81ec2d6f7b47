"""A network nested into itself ten thousand calls deep."""

import torch
import torch.nn as nn


class Net(nn.Module):
    def __init__(self, outputs, channels):
        super().__init__()
        self.conv = nn.Conv2d(channels, 16, 3, padding=1)
        self.fc = nn.Linear(16, outputs)

    def forward(self, x):
        return self.fc(self.deeper(torch.relu(self.conv(x)), 10_000).mean((2, 3)))

    def deeper(self, x, n):
        return x if n == 0 else self.deeper(x, n - 1)
