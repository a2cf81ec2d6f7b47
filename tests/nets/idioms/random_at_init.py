"""Needs random numbers while it is made: random wiring of channels."""

import random
import numpy as np
import torch
import torch.nn as nn


class Net(nn.Module):
    def __init__(self, outputs, channels):
        super().__init__()
        self.conv, self.conv2 = nn.Conv2d(channels, 16, 3, padding=1), nn.Conv2d(16, 16, 3, padding=1)
        self.register_buffer("order", torch.randperm(16))
        self.scale = float(np.random.rand()) + random.random()
        self.fc = nn.Linear(16, outputs)

    def forward(self, x):
        x = torch.relu(self.conv(x))[:, self.order]
        return self.fc(torch.relu(self.conv2(x) * self.scale).mean((2, 3)))
