"""An auxiliary head while training only: a tuple then."""

import torch
import torch.nn as nn


class Net(nn.Module):
    def __init__(self, outputs, channels):
        super().__init__()
        self.conv1, self.conv2 = nn.Conv2d(channels, 16, 3, padding=1), nn.Conv2d(16, 16, 3, padding=1)
        self.aux, self.fc = nn.Linear(16, outputs), nn.Linear(16, outputs)

    def forward(self, x):
        x = torch.relu(self.conv1(x))
        aux = self.aux(x.mean((2, 3))) if self.training else None
        x = self.fc(torch.relu(self.conv2(x)).mean((2, 3)))
        if self.training:
            return x, aux
        return x
