"""torch.where, masked_fill and comparisons times tensors."""

import torch
import torch.nn as nn


class Net(nn.Module):
    def __init__(self, outputs, channels):
        super().__init__()
        self.conv, self.conv2 = nn.Conv2d(channels, 16, 3, padding=1), nn.Conv2d(16, 16, 3, padding=1)
        self.fc = nn.Linear(16, outputs)

    def forward(self, x):
        x = self.conv(x)
        x = torch.where(x > 0, x, 0.1 * x)
        x = x.masked_fill(x > 6.0, 6.0)
        x = self.conv2(x)
        x = x * (x > 0).float()
        return self.fc(x.mean((2, 3)))
