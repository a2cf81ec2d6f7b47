"""Pooling only while the map is large: `if x.shape[2] > 4` and a while loop."""

import torch
import torch.nn as nn
import torch.nn.functional as F


class Net(nn.Module):
    def __init__(self, outputs, channels):
        super().__init__()
        self.conv1 = nn.Conv2d(channels, 16, 3, padding=1)
        self.conv2 = nn.Conv2d(16, 16, 3, padding=1)
        self.fc = nn.Linear(16, outputs)

    def forward(self, x):
        x = torch.relu(self.conv1(x))
        if x.shape[2] > 4:
            x = F.max_pool2d(x, 2)
        x = torch.relu(self.conv2(x))
        while x.size(-1) > 1:
            x = F.avg_pool2d(x, 2)
        return self.fc(x[:, :, 0, 0])
