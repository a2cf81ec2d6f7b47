"""ResNet's option A shortcut: every second pixel, channels padded by F.pad, in a lambda layer."""

import torch
import torch.nn as nn
import torch.nn.functional as F


class LambdaLayer(nn.Module):
    def __init__(self, lambd):
        super().__init__()
        self.lambd = lambd

    def forward(self, x):
        return self.lambd(x)


class Net(nn.Module):
    def __init__(self, outputs, channels):
        super().__init__()
        self.stem = nn.Conv2d(channels, 16, 3, padding=1)
        self.conv = nn.Conv2d(16, 32, 3, stride=2, padding=1)
        self.shortcut = LambdaLayer(lambda x: F.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, 8, 8), "constant", 0))
        self.fc = nn.Linear(32, outputs)

    def forward(self, x):
        x = torch.relu(self.stem(x))
        x = torch.relu(self.conv(x) + self.shortcut(x))
        return self.fc(x.mean((2, 3)))
