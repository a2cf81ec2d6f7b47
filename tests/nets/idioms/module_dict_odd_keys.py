"""A ModuleDict with keys that are no Python names."""

import torch
import torch.nn as nn


class Net(nn.Module):
    def __init__(self, outputs, channels):
        super().__init__()
        self.branches = nn.ModuleDict(
            {"conv-1": nn.Conv2d(channels, 16, 1), "3x3": nn.Conv2d(channels, 16, 3, padding=1)}
        )
        self.out = nn.ModuleDict({"fc/out": nn.Linear(16, outputs)})

    def forward(self, x):
        x = torch.stack([branch(x) for branch in self.branches.values()]).sum(0)
        return self.out["fc/out"](torch.relu(x).mean((2, 3)))
