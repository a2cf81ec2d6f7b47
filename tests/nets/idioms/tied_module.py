"""One layer that stands under two names and runs once."""

import torch
import torch.nn as nn


class Net(nn.Module):
    def __init__(self, outputs, channels):
        super().__init__()
        self.conv = nn.Conv2d(channels, 16, 3, padding=1)
        self.conv2 = nn.Conv2d(16, 16, 3, padding=1)
        self.features = nn.Sequential(self.conv, nn.ReLU(), self.conv2, nn.ReLU())
        self.fc = nn.Linear(16, outputs)

    def forward(self, x):
        return self.fc(self.features(x).mean((2, 3)))
