"""Residual networks for small images: a 3x3 stem and no max-pool.

He et al. 2016, "Deep Residual Learning for Image Recognition", section 4.2 (thin, three stages) and table 1 with the
stem of the CIFAR variants (wide, four stages). Shortcuts that change shape are 1x1 convolutions with a norm (option B).
"""

from __future__ import annotations

from torch import Tensor, nn


class BasicBlock(nn.Module):
    """Two 3x3 convolutions and a shortcut."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.relu1 = nn.ReLU()
        self.conv2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.relu2 = nn.ReLU()
        self.shortcut = nn.Sequential()
        if stride != 1 or inputs != outputs:
            self.shortcut = nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs))

    def forward(self, x: Tensor) -> Tensor:
        y = self.relu1(self.bn1(self.conv1(x)))  # [N, outputs, H/stride, W/stride]
        y = self.bn2(self.conv2(y)) + self.shortcut(x)
        z: Tensor = self.relu2(y)
        return z


class ResNet(nn.Module):
    """Stem, stages of basic blocks that double the width and halve the resolution, average pool, linear."""

    def __init__(self, blocks: tuple[int, ...], width: int, *, outputs: int, channels: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, width, 3, 1, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.relu1 = nn.ReLU()
        inputs = width
        stages = []
        for stage, count in enumerate(blocks):
            made = []
            for index in range(count):
                made.append(BasicBlock(inputs, width << stage, stride=2 if stage and not index else 1))
                inputs = width << stage
            stages.append(nn.Sequential(*made))
        self.stages = nn.Sequential(*stages)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.flatten = nn.Flatten()
        self.linear = nn.Linear(inputs, outputs)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, x: Tensor) -> Tensor:
        x = self.stages(self.relu1(self.bn1(self.conv1(x))))  # [N, C, H, W]
        y: Tensor = self.linear(self.flatten(self.pool(x)))  # [N, outputs]
        return y


def resnet_thin(*, depth: int, width: int, outputs: int, channels: int) -> ResNet:
    """Give the three-stage family: depth = 6n + 2, widths w, 2w, 4w."""
    return ResNet(((depth - 2) // 6,) * 3, width, outputs=outputs, channels=channels)


def resnet_wide(*, depth: int, width: int, outputs: int, channels: int) -> ResNet:
    """Give the four-stage family (ResNet-18, ResNet-34): widths w, 2w, 4w, 8w."""
    blocks = {10: (1, 1, 1, 1), 18: (2, 2, 2, 2), 34: (3, 4, 6, 3)}[depth]
    return ResNet(blocks, width, outputs=outputs, channels=channels)
