"""x += y where a view of x is read afterwards."""

import torch
import torch.nn as nn


class Net(nn.Module):
    def __init__(self, outputs, channels):
        super().__init__()
        self.conv1, self.conv2 = nn.Conv2d(channels, 16, 3, padding=1), nn.Conv2d(16, 16, 3, padding=1)
        self.fc = nn.Linear(16, outputs)

    def forward(self, x):
        x = torch.relu(self.conv1(x))
        flat = x.view(x.size(0), 16, -1)
        x += self.conv2(x)
        return self.fc(flat.mean(2))
