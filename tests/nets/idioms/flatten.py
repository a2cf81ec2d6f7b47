"""torch.flatten and nn.Flatten before linear layers."""

import torch
import torch.nn as nn


class Net(nn.Module):
    def __init__(self, outputs, channels):
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(channels, 16, 3, stride=2), nn.ReLU(), nn.Conv2d(16, 16, 3, stride=2), nn.ReLU()
        )
        self.flatten = nn.Flatten()
        self.fc1, self.fc2 = nn.Linear(144, 16), nn.Linear(144, 16)
        self.out = nn.Linear(16, outputs)

    def forward(self, x):
        x = self.features(x)
        return self.out(torch.relu(self.fc1(self.flatten(x)) + self.fc2(torch.flatten(x, start_dim=1))))
