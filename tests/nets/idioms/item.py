"""Takes a number out by .item()."""

import torch
import torch.nn as nn


class Net(nn.Module):
    def __init__(self, outputs, channels):
        super().__init__()
        self.conv = nn.Conv2d(channels, 16, 3, padding=1)
        self.alpha = nn.Parameter(torch.tensor(0.5))
        self.fc = nn.Linear(16, outputs)

    def forward(self, x):
        return self.fc((torch.relu(self.conv(x)) * self.alpha.item()).mean((2, 3)))
