"""A shortcut whose channels are padded by torch.zeros(b, ...)."""

import torch
import torch.nn as nn


class Net(nn.Module):
    def __init__(self, outputs, channels):
        super().__init__()
        self.stem = nn.Conv2d(channels, 16, 3, padding=1)
        self.conv = nn.Conv2d(16, 32, 3, stride=2, padding=1)
        self.fc = nn.Linear(32, outputs)

    def forward(self, x):
        x = torch.relu(self.stem(x))
        y = nn.functional.avg_pool2d(x, 1, 2)
        zeros = torch.zeros(y.size(0), 16, y.size(2), y.size(3), dtype=y.dtype, device=y.device)
        x = torch.relu(self.conv(x) + torch.cat([y, zeros], 1))
        return self.fc(x.mean((2, 3)))
