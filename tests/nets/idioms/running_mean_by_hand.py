"""A running mean of its own, updated in training."""

import torch
import torch.nn as nn


class Net(nn.Module):
    def __init__(self, outputs, channels):
        super().__init__()
        self.conv = nn.Conv2d(channels, 16, 3, padding=1)
        self.register_buffer("center", torch.zeros(16))
        self.fc = nn.Linear(16, outputs)

    def forward(self, x):
        x = torch.relu(self.conv(x)).mean((2, 3))
        if self.training:
            with torch.no_grad():
                self.center.mul_(0.9).add_(x.mean(0), alpha=0.1)
        return self.fc(x - self.center)
