"""x += y, x *= 2, x.add_(y), F.relu_(x) and out += identity."""

import torch
import torch.nn as nn
import torch.nn.functional as F


class Net(nn.Module):
    def __init__(self, outputs, channels):
        super().__init__()
        self.conv1, self.conv2 = nn.Conv2d(channels, 16, 3, padding=1), nn.Conv2d(16, 16, 3, padding=1)
        self.fc = nn.Linear(16, outputs)

    def forward(self, x):
        x = F.relu_(self.conv1(x))
        identity = x
        out = self.conv2(x)
        out += identity
        out *= 0.5
        out.add_(identity).clamp_(min=0)
        return self.fc(F.relu(out, inplace=True).mean((2, 3)))
