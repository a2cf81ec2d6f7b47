"""A view with the batch size that the author trained with."""

import torch
import torch.nn as nn

BATCH = 2


class Net(nn.Module):
    def __init__(self, outputs, channels):
        super().__init__()
        self.conv = nn.Conv2d(channels, 16, 3, padding=1)
        self.fc = nn.Linear(16 * 64, outputs)

    def forward(self, x):
        x = torch.relu(self.conv(x[:, :, ::2, ::2]))
        return self.fc(x.view(BATCH, -1))
