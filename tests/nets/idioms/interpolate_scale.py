"""F.interpolate by a scale, down and up."""

import torch
import torch.nn as nn
import torch.nn.functional as F


class Net(nn.Module):
    def __init__(self, outputs, channels):
        super().__init__()
        self.c1 = nn.Conv2d(channels, 16, 3, padding=1)
        self.c2 = nn.Conv2d(16, 16, 3, padding=1)
        self.fc = nn.Linear(16, outputs)

    def forward(self, x):
        x = F.interpolate(x, scale_factor=0.5, mode="bilinear", align_corners=True)
        x = F.interpolate(torch.relu(self.c1(x)), scale_factor=2)
        return self.fc(torch.relu(self.c2(x)).mean((2, 3)))
