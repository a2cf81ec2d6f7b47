"""b, c, h, w = x.shape and arithmetic on them."""

import torch
import torch.nn as nn


class Net(nn.Module):
    def __init__(self, outputs, channels):
        super().__init__()
        self.conv1 = nn.Conv2d(channels, 16, 3, padding=1)
        self.conv2 = nn.Conv2d(16, 16, 3, padding=1)
        self.fc = nn.Linear(16, outputs)

    def forward(self, x):
        b, c, h, w = x.shape
        x = torch.relu(self.conv1(x.reshape(b, c, h * w).view(b, c, h, w)))
        x = self.conv2(x).reshape(b, -1, h // 2 * w // 2, 4).sum(-1)
        return self.fc(x.sum(2) / (h * w) + 0.5 * (x.max(dim=2).values / w**0.5))
