"""Shifts channels by copying slices into zeros_like, as in TSM."""

import torch
import torch.nn as nn


class Net(nn.Module):
    def __init__(self, outputs, channels):
        super().__init__()
        self.conv1, self.conv2 = nn.Conv2d(channels, 16, 3, padding=1), nn.Conv2d(16, 16, 1)
        self.fc = nn.Linear(16, outputs)

    def forward(self, x):
        x = torch.relu(self.conv1(x))
        out = torch.zeros_like(x)
        out[:, :8, :-1] = x[:, :8, 1:]
        out[:, 8:] = x[:, 8:]
        return self.fc(torch.relu(self.conv2(out)).mean((2, 3)))
