"""Constants: x + 1, 2 - x, x / 255, a list as a tensor, x ** 2."""

import torch
import torch.nn as nn


class Net(nn.Module):
    def __init__(self, outputs, channels):
        super().__init__()
        self.conv1 = nn.Conv2d(channels, 16, 3, padding=1)
        self.conv2 = nn.Conv2d(16, 16, 3, padding=1)
        self.fc = nn.Linear(16, outputs)

    def forward(self, x):
        x = (x + 1) / 2
        x = x - torch.tensor([0.485, 0.456, 0.406]).view(1, 3, 1, 1)
        x = 2 - torch.relu(self.conv1(x)) ** 2
        x = x * torch.pi
        return self.fc(torch.relu(self.conv2(x)).mean((2, 3))) * 0.5
