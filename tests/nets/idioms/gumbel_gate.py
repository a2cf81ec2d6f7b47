"""Gates by F.gumbel_softmax."""

import torch
import torch.nn as nn
import torch.nn.functional as F


class Net(nn.Module):
    def __init__(self, outputs, channels):
        super().__init__()
        self.conv = nn.Conv2d(channels, 16, 3, padding=1)
        self.gate = nn.Linear(16, 2)
        self.fc = nn.Linear(16, outputs)

    def forward(self, x):
        x = torch.relu(self.conv(x)).mean((2, 3))
        g = F.gumbel_softmax(self.gate(x), tau=1.0, hard=True)
        return self.fc(x * g[:, :1])
