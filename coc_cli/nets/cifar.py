"""The papers' networks for small images: a 3x3 stem and no early pooling.

Residual networks are from He et al. 2016, "Deep Residual Learning for Image Recognition", section 4.2 (thin, three
stages) and table 1 (wide, four stages). Shortcuts that change shape are 1x1 convolutions with a norm (option B).
"""

from __future__ import annotations

from torch import Tensor, nn


def _kaiming(network: nn.Module) -> None:
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")


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
            layers = []
            for index in range(count):
                layers.append(BasicBlock(inputs, width << stage, stride=2 if stage and not index else 1))
                inputs = width << stage
            stages.append(nn.Sequential(*layers))
        self.stages = nn.Sequential(*stages)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.flatten = nn.Flatten()
        self.linear = nn.Linear(inputs, outputs)
        _kaiming(self)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stages(self.relu1(self.bn1(self.conv1(x))))  # [N, C, H, W]
        y: Tensor = self.linear(self.flatten(self.pool(x)))  # [N, outputs]
        return y


def resnet_thin(*, depth: int, width: int, outputs: int, channels: int) -> ResNet:
    """Return the three-stage family: depth = 6n + 2, widths w, 2w, 4w."""
    return ResNet(((depth - 2) // 6,) * 3, width, outputs=outputs, channels=channels)


def resnet_wide(*, depth: int, width: int, outputs: int, channels: int) -> ResNet:
    """Return the four-stage family (ResNet-18, ResNet-34): widths w, 2w, 4w, 8w."""
    blocks = {10: (1, 1, 1, 1), 18: (2, 2, 2, 2), 34: (3, 4, 6, 3)}[depth]
    return ResNet(blocks, width, outputs=outputs, channels=channels)


class VGG(nn.Module):
    """3x3 convolutions with norms in five groups, a max-pool after each, one linear layer.

    Simonyan and Zisserman 2015, "Very Deep Convolutional Networks", table 1, with batch norms and without the two
    hidden linear layers, as is usual for small images. A pool is left out where the image is down to one pixel.
    """

    def __init__(self, convolutions: tuple[int, ...], width: int, *, outputs: int, channels: int) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        inputs = channels
        for group, count in enumerate(convolutions):
            wide = width << min(group, 3)
            for _ in range(count):
                layers += [nn.Conv2d(inputs, wide, 3, 1, 1, bias=False), nn.BatchNorm2d(wide), nn.ReLU()]
                inputs = wide
            layers.append(nn.MaxPool2d(2, ceil_mode=True))
        self.features = nn.Sequential(*layers)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.flatten = nn.Flatten()
        self.linear = nn.Linear(inputs, outputs)
        _kaiming(self)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.linear(self.flatten(self.pool(self.features(x))))
        return y


class InvertedResidual(nn.Module):
    """Widen with 1x1, filter depthwise with 3x3, narrow with 1x1; a shortcut where shapes allow one."""

    def __init__(self, inputs: int, outputs: int, stride: int, expand: int) -> None:
        super().__init__()
        wide = inputs * expand
        layers: list[nn.Module] = []
        if expand > 1:
            layers += [nn.Conv2d(inputs, wide, 1, bias=False), nn.BatchNorm2d(wide), nn.ReLU6()]
        layers += [nn.Conv2d(wide, wide, 3, stride, 1, groups=wide, bias=False), nn.BatchNorm2d(wide), nn.ReLU6()]
        layers += [nn.Conv2d(wide, outputs, 1, bias=False), nn.BatchNorm2d(outputs)]
        self.layers = nn.Sequential(*layers)
        self.is_residual = stride == 1 and inputs == outputs

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.layers(x)
        return x + y if self.is_residual else y


class MobileNetV2(nn.Module):
    """Sandler et al. 2018, "MobileNetV2", table 2, with strides for small images; `width` is that of the stem."""

    def __init__(self, width: int, *, outputs: int, channels: int) -> None:
        super().__init__()
        # expansion, channels at width 32, blocks, stride
        table = (
            (1, 16, 1, 1),
            (6, 24, 2, 1),
            (6, 32, 3, 2),
            (6, 64, 4, 2),
            (6, 96, 3, 1),
            (6, 160, 3, 2),
            (6, 320, 1, 1),
        )
        self.stem = nn.Sequential(nn.Conv2d(channels, width, 3, 1, 1, bias=False), nn.BatchNorm2d(width), nn.ReLU6())
        inputs, blocks = width, []
        for expand, wide, count, stride in table:
            outs = max(1, wide * width // 32)
            for index in range(count):
                blocks.append(InvertedResidual(inputs, outs, 1 if index else stride, expand))
                inputs = outs
        self.blocks = nn.Sequential(*blocks)
        last = 1280 * width // 32
        self.head = nn.Sequential(nn.Conv2d(inputs, last, 1, bias=False), nn.BatchNorm2d(last), nn.ReLU6())
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.flatten = nn.Flatten()
        self.linear = nn.Linear(last, outputs)
        _kaiming(self)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.linear(self.flatten(self.pool(self.head(self.blocks(self.stem(x))))))
        return y


def vgg(*, depth: int, width: int, outputs: int, channels: int) -> VGG:
    """Return VGG-11, 13, 16 or 19; depth counts the two linear layers that the original had before its last one."""
    groups = {11: (1, 1, 2, 2, 2), 13: (2, 2, 2, 2, 2), 16: (2, 2, 3, 3, 3), 19: (2, 2, 4, 4, 4)}[depth]
    return VGG(groups, width, outputs=outputs, channels=channels)


def mobilenet_v2(*, width: int, outputs: int, channels: int) -> MobileNetV2:
    return MobileNetV2(width, outputs=outputs, channels=channels)
