"""CoordConv: torch.linspace coordinates as two more channels."""

import torch
import torch.nn as nn


class Net(nn.Module):
    def __init__(self, outputs, channels):
        super().__init__()
        self.conv1 = nn.Conv2d(channels + 2, 16, 3, padding=1)
        self.conv2 = nn.Conv2d(16, 16, 3, padding=1)
        self.fc = nn.Linear(16, outputs)

    def forward(self, x):
        b, _, h, w = x.shape
        yy, xx = torch.meshgrid(
            torch.linspace(-1, 1, h, device=x.device), torch.linspace(-1, 1, w, device=x.device), indexing="ij"
        )
        coords = torch.stack([xx, yy]).unsqueeze(0).expand(b, -1, -1, -1)
        x = torch.relu(self.conv1(torch.cat([x, coords], dim=1)))
        return self.fc(torch.relu(self.conv2(x)).mean((2, 3)))
