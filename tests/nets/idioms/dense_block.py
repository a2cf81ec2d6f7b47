"""DenseNet's blocks: torch.cat of a growing list."""

import torch
import torch.nn as nn


class DenseBlock(nn.Module):
    def __init__(self, width, growth, layers):
        super().__init__()
        self.layers = nn.ModuleList(
            nn.Sequential(
                nn.BatchNorm2d(width + i * growth),
                nn.ReLU(),
                nn.Conv2d(width + i * growth, growth, 3, padding=1, bias=False),
            )
            for i in range(layers)
        )

    def forward(self, x):
        features = [x]
        for layer in self.layers:
            features.append(layer(torch.cat(features, 1)))
        return torch.cat(features, 1)


def net(outputs, channels):
    return nn.Sequential(
        nn.Conv2d(channels, 16, 3, padding=1),
        DenseBlock(16, 8, 3),
        nn.BatchNorm2d(40),
        nn.ReLU(),
        nn.Conv2d(40, 16, 1),
        nn.AvgPool2d(2),
        DenseBlock(16, 8, 2),
        nn.AdaptiveAvgPool2d((1, 1)),
        nn.Flatten(),
        nn.Linear(32, outputs),
    )
