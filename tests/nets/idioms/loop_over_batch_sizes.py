"""A list per image, no layer in it."""

import torch
import torch.nn as nn


class Net(nn.Module):
    def __init__(self, outputs, channels):
        super().__init__()
        self.conv = nn.Conv2d(channels, 16, 3, padding=1)
        self.fc = nn.Linear(16, outputs)

    def forward(self, x):
        x = torch.relu(self.conv(x))
        pooled = torch.stack([x[i].amax(dim=(1, 2)) for i in range(x.size(0))])
        return self.fc(pooled)
