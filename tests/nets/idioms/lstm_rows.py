"""An LSTM that reads the rows of the map."""

import torch
import torch.nn as nn


class Net(nn.Module):
    def __init__(self, outputs, channels):
        super().__init__()
        self.conv = nn.Conv2d(channels, 16, 3, stride=2, padding=1)
        self.lstm = nn.LSTM(16, 16, batch_first=True)
        self.fc = nn.Linear(16, outputs)

    def forward(self, x):
        rows = torch.relu(self.conv(x)).mean(3).transpose(1, 2)
        _, (h, _) = self.lstm(rows)
        return self.fc(h[-1])
