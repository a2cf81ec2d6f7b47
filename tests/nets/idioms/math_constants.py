"""math functions of sizes: math.sqrt(d), int(h / 2), round, max of two sizes."""

import math
import torch
import torch.nn as nn
import torch.nn.functional as F


class Net(nn.Module):
    def __init__(self, outputs, channels):
        super().__init__()
        self.conv, self.conv2 = nn.Conv2d(channels, 16, 3, padding=1), nn.Conv2d(16, 16, 3, padding=1)
        self.fc = nn.Linear(16, outputs)

    def forward(self, x):
        x = torch.relu(self.conv(x))
        h, w = x.shape[-2:]
        x = F.adaptive_avg_pool2d(x, (int(h / 2), math.ceil(w / 2)))
        x = torch.relu(self.conv2(x)) / math.sqrt(x.size(1))
        x = F.interpolate(x, size=(max(h, w), round(w * 0.5)))
        return self.fc(x.mean((2, 3)))
