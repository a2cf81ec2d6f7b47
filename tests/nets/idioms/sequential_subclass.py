"""ConvBNReLU as a subclass of nn.Sequential, with Sequential's indexing and slicing."""

import torch.nn as nn


class ConvBNReLU(nn.Sequential):
    def __init__(self, inp, oup, stride=1, groups=1):
        super().__init__(
            nn.Conv2d(inp, oup, 3, stride, 1, groups=groups, bias=False), nn.BatchNorm2d(oup), nn.ReLU6(inplace=True)
        )


class Net(nn.Module):
    def __init__(self, outputs, channels):
        super().__init__()
        self.features = nn.Sequential(ConvBNReLU(channels, 16, 2), ConvBNReLU(16, 16, groups=16), ConvBNReLU(16, 16))
        self.classifier = nn.Sequential(nn.Dropout(0.2), nn.Linear(16, outputs))

    def forward(self, x):
        x = self.features[:2](x)
        x = self.features[-1](x)
        return self.classifier(x.mean(3).mean(2))
