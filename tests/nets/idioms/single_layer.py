"""A network that is one linear layer."""

import torch.nn as nn


class Net(nn.Linear):
    def __init__(self, outputs, channels):
        super().__init__(channels * 16 * 16, outputs)

    def forward(self, x):
        return super().forward(x.flatten(1))
