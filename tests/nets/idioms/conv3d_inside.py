"""A Conv3d over channels as depth."""

import torch
import torch.nn as nn


class Net(nn.Module):
    def __init__(self, outputs, channels):
        super().__init__()
        self.conv3d = nn.Conv3d(1, 4, 3, padding=1)
        self.conv = nn.Conv2d(4 * channels, 16, 3, padding=1)
        self.fc = nn.Linear(16, outputs)

    def forward(self, x):
        x = torch.relu(self.conv3d(x.unsqueeze(1))).flatten(1, 2)
        return self.fc(torch.relu(self.conv(x)).mean((2, 3)))
