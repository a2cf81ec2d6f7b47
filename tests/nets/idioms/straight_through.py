"""A straight-through estimator: a custom autograd.Function that rounds."""

import torch
import torch.nn as nn


class Sign(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        return x.sign()

    @staticmethod
    def backward(ctx, grad):
        return grad


class Net(nn.Module):
    def __init__(self, outputs, channels):
        super().__init__()
        self.conv1, self.conv2 = nn.Conv2d(channels, 16, 3, padding=1), nn.Conv2d(16, 16, 3, padding=1)
        self.fc = nn.Linear(16, outputs)

    def forward(self, x):
        x = Sign.apply(self.conv1(x))
        return self.fc(torch.relu(self.conv2(x)).mean((2, 3)))
