"""ResNets for CIFAR-10 as in akamaster/pytorch_resnet_cifar10: He et al. 2016, section 4.2, with shortcuts of kind A.

Where the size changes, the input is taken at every second pixel and padded with channels of zeros on both sides.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

WIDTH = 16


class Block(nn.Module):
    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.stride, self.more = stride, (outputs - inputs) // 2

    def forward(self, x: Tensor) -> Tensor:
        y = self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x)))))
        if self.stride > 1:
            x = F.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, self.more, self.more))
        return F.relu(y + x)


class ResNet(nn.Module):
    def __init__(self, outputs: int, depth: int) -> None:
        super().__init__()
        blocks = (depth - 2) // 6

        def layer(inputs: int, width: int, stride: int) -> nn.Sequential:
            return nn.Sequential(Block(inputs, width, stride), *(Block(width, width, 1) for _ in range(blocks - 1)))

        self.conv1 = nn.Conv2d(3, WIDTH, 3, 1, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(WIDTH)
        self.layer1 = layer(WIDTH, WIDTH, 1)
        self.layer2 = layer(WIDTH, 2 * WIDTH, 2)
        self.layer3 = layer(2 * WIDTH, 4 * WIDTH, 2)
        self.linear = nn.Linear(4 * WIDTH, outputs)

    def forward(self, x: Tensor) -> Tensor:
        x = self.layer3(self.layer2(self.layer1(F.relu(self.bn1(self.conv1(x))))))
        y: Tensor = self.linear(F.adaptive_avg_pool2d(x, 1).flatten(1))
        return y


def resnet20(outputs: int) -> ResNet:
    return ResNet(outputs, 20)


def resnet56(outputs: int) -> ResNet:
    return ResNet(outputs, 56)
