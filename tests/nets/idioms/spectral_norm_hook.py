"""spectral_norm as torch had it first, by a hook."""

import torch.nn as nn
from torch.nn.utils import spectral_norm


def net(outputs, channels):
    return nn.Sequential(
        spectral_norm(nn.Conv2d(channels, 16, 3, padding=1)),
        nn.LeakyReLU(0.1),
        spectral_norm(nn.Conv2d(16, 16, 4, stride=2, padding=1)),
        nn.LeakyReLU(0.1),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        spectral_norm(nn.Linear(16, outputs)),
    )
