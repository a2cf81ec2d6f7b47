"""torch.einsum for attention over channels."""

import torch
import torch.nn as nn


class Net(nn.Module):
    def __init__(self, outputs, channels):
        super().__init__()
        self.conv = nn.Conv2d(channels, 16, 3, stride=2, padding=1)
        self.fc = nn.Linear(16, outputs)

    def forward(self, x):
        x = torch.relu(self.conv(x)).flatten(2)
        weights = torch.einsum("bcn,bdn->bcd", x, x).softmax(-1)
        return self.fc(torch.einsum("bcd,bdn->bcn", weights, x).mean(2))
