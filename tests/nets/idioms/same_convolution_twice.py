"""The same convolution called in a loop, a recurrent network in depth."""

import torch
import torch.nn as nn


class Net(nn.Module):
    def __init__(self, outputs, channels):
        super().__init__()
        self.stem, self.conv = nn.Conv2d(channels, 16, 3, padding=1), nn.Conv2d(16, 16, 3, padding=1)
        self.fc = nn.Linear(16, outputs)

    def forward(self, x):
        x = self.stem(x)
        for _ in range(3):
            x = torch.relu(self.conv(x)) + x
        return self.fc(x.mean((2, 3)))
