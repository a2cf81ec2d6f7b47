"""numpy computes constants in forward: np.sqrt, np.linspace, np.prod of a shape."""

import numpy as np
import torch
import torch.nn as nn


class Net(nn.Module):
    def __init__(self, outputs, channels):
        super().__init__()
        self.conv, self.conv2 = nn.Conv2d(channels, 16, 3, padding=1), nn.Conv2d(16, 16, 3, padding=1)
        self.fc = nn.Linear(16, outputs)

    def forward(self, x):
        x = torch.relu(self.conv(x)) * np.sqrt(2)
        x = x + torch.from_numpy(np.linspace(0, 1, 16, dtype=np.float32)).view(1, 16, 1, 1)
        x = torch.relu(self.conv2(x))
        return self.fc(x.reshape(-1, 16, int(np.prod(x.shape[2:]))).mean(2))
