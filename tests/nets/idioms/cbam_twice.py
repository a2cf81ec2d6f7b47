"""CBAM whose shared MLP runs on both pooled vectors."""

import torch
import torch.nn as nn
import torch.nn.functional as F


class Net(nn.Module):
    def __init__(self, outputs, channels):
        super().__init__()
        self.conv = nn.Conv2d(channels, 16, 3, padding=1)
        self.mlp = nn.Sequential(nn.Flatten(), nn.Linear(16, 4), nn.ReLU(), nn.Linear(4, 16))
        self.fc = nn.Linear(16, outputs)

    def forward(self, x):
        x = torch.relu(self.conv(x))
        scale = self.mlp(F.adaptive_avg_pool2d(x, 1)) + self.mlp(F.adaptive_max_pool2d(x, 1))
        x = x * torch.sigmoid(scale)[:, :, None, None]
        return self.fc(F.adaptive_avg_pool2d(x, 1).flatten(1))
