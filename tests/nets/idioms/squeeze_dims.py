"""squeeze(-1).squeeze(-1), and squeeze of two dimensions at once."""

import torch
import torch.nn as nn


class Net(nn.Module):
    def __init__(self, outputs, channels):
        super().__init__()
        self.conv1, self.conv2 = nn.Conv2d(channels, 16, 3, padding=1), nn.Conv2d(16, 16, 3, padding=1)
        self.pool, self.fc = nn.AdaptiveAvgPool2d(1), nn.Linear(32, outputs)

    def forward(self, x):
        a = torch.relu(self.conv1(x))
        b = torch.relu(self.conv2(a))
        return self.fc(torch.cat([self.pool(a).squeeze(-1).squeeze(-1), self.pool(b).squeeze((2, 3))], 1))
