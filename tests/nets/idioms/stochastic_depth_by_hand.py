"""Stochastic depth by hand: a random number decides whether a block runs."""

import torch
import torch.nn as nn


class Block(nn.Module):
    def __init__(self, width, p):
        super().__init__()
        self.conv = nn.Conv2d(width, width, 3, padding=1)
        self.p = p

    def forward(self, x):
        if self.training and torch.rand(1).item() < self.p:
            return x
        return x + torch.relu(self.conv(x))


def net(outputs, channels):
    blocks = [Block(16, 0.1), Block(16, 0.2)]
    head = [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(16, outputs)]
    return nn.Sequential(nn.Conv2d(channels, 16, 3, padding=1), *blocks, *head)
