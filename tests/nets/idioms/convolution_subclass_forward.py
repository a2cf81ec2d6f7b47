"""Subclasses of nn.Conv2d whose forward adds something to super().forward."""

import torch
import torch.nn as nn
import torch.nn.functional as F


class ConvReLU(nn.Conv2d):
    def forward(self, x):
        return torch.relu(super().forward(x))


class SameConv(nn.Conv2d):
    def forward(self, x):
        x = F.pad(x, (1, 1, 1, 1))
        return F.conv2d(x, self.weight, self.bias, self.stride, 0, self.dilation, self.groups)


def net(outputs, channels):
    return nn.Sequential(
        ConvReLU(channels, 16, 3, padding=1),
        SameConv(16, 16, 3),
        nn.ReLU(),
        ConvReLU(16, 16, 3),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(16, outputs),
    )
