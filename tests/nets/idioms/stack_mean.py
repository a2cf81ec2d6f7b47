"""torch.stack(...).mean(0) over branches."""

import torch
import torch.nn as nn


class Net(nn.Module):
    def __init__(self, outputs, channels):
        super().__init__()
        self.stem = nn.Conv2d(channels, 16, 3, padding=1)
        self.heads = nn.ModuleList([nn.Linear(16, outputs) for _ in range(3)])

    def forward(self, x):
        x = torch.relu(self.stem(x)).mean((2, 3))
        return torch.stack([head(x) for head in self.heads]).mean(0)
