"""ECA: a Conv1d over the channels."""

import torch
import torch.nn as nn


class Net(nn.Module):
    def __init__(self, outputs, channels):
        super().__init__()
        self.conv, self.eca = nn.Conv2d(channels, 16, 3, padding=1), nn.Conv1d(1, 1, 3, padding=1, bias=False)
        self.conv2 = nn.Conv2d(16, 16, 3, padding=1)
        self.fc = nn.Linear(16, outputs)

    def forward(self, x):
        x = torch.relu(self.conv(x))
        y = self.eca(x.mean((2, 3), keepdim=True).squeeze(-1).transpose(-1, -2)).transpose(-1, -2).unsqueeze(-1)
        x = x * y.sigmoid().expand_as(x)
        return self.fc(torch.relu(self.conv2(x)).mean((2, 3)))
