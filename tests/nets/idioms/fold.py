"""Overlapping patches put together again by nn.Fold."""

import torch
import torch.nn as nn


class Net(nn.Module):
    def __init__(self, outputs, channels):
        super().__init__()
        self.unfold, self.fold = nn.Unfold(3, padding=1, stride=2), nn.Fold((16, 16), 3, padding=1, stride=2)
        self.conv = nn.Conv2d(channels, 16, 3, padding=1)
        self.fc = nn.Linear(16, outputs)

    def forward(self, x):
        x = self.fold(self.unfold(x))
        return self.fc(torch.relu(self.conv(x)).mean((2, 3)))
