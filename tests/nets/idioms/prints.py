"""print() of shapes in forward."""

import torch
import torch.nn as nn


class Net(nn.Module):
    def __init__(self, outputs, channels):
        super().__init__()
        self.conv, self.conv2 = nn.Conv2d(channels, 16, 3, padding=1), nn.Conv2d(16, 16, 3, padding=1)
        self.fc = nn.Linear(16, outputs)

    def forward(self, x):
        print("input", x.shape, x.size(), x.dtype, x.device)
        x = torch.relu(self.conv2(torch.relu(self.conv(x))))
        print(f"features {tuple(x.shape)}, {x.size(1)} channels, {x.numel():,} numbers")
        return self.fc(x.mean((2, 3)))
