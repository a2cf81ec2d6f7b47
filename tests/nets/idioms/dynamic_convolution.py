"""Dynamic convolution: kernels mixed by attention, per image."""

import torch
import torch.nn as nn
import torch.nn.functional as F


class Net(nn.Module):
    def __init__(self, outputs, channels):
        super().__init__()
        self.conv = nn.Conv2d(channels, 16, 3, padding=1)
        self.attention = nn.Linear(16, 4)
        self.kernels = nn.Parameter(torch.randn(4, 16, 16, 3, 3) * 0.1)
        self.fc = nn.Linear(16, outputs)

    def forward(self, x):
        x = torch.relu(self.conv(x))
        a = self.attention(x.mean((2, 3))).softmax(1)
        w = (a.mean(0).view(4, 1, 1, 1, 1) * self.kernels).sum(0)
        return self.fc(torch.relu(F.conv2d(x, w, padding=1)).mean((2, 3)))
