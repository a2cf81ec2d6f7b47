"""Reads a layer's weight beside calling the layer."""

import torch
import torch.nn as nn


class Net(nn.Module):
    def __init__(self, outputs, channels):
        super().__init__()
        self.conv, self.conv2 = nn.Conv2d(channels, 16, 3, padding=1), nn.Conv2d(16, 16, 3, padding=1)
        self.fc = nn.Linear(16, outputs)

    def forward(self, x):
        x = torch.relu(self.conv2(torch.relu(self.conv(x)))).mean((2, 3))
        return self.fc(x) / self.fc.weight.norm(dim=1)
