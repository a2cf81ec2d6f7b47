"""nn.Sequential(*list(resnet.children())[:-1]) and a classifier of one's own."""

import torch
import torch.nn as nn
from torchvision.models.resnet import BasicBlock, ResNet


class Net(nn.Module):
    def __init__(self, outputs, channels):
        super().__init__()
        resnet = ResNet(BasicBlock, [1, 1, 1, 1], num_classes=10)
        self.backbone = nn.Sequential(*list(resnet.children())[:-1])
        self.fc = nn.Linear(512, outputs)

    def forward(self, x):
        return self.fc(torch.flatten(self.backbone(x), 1))
