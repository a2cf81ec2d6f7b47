"""A non-local block: 1x1 convolutions, bmm and softmax over places."""

import torch
import torch.nn as nn
import torch.nn.functional as F


class Net(nn.Module):
    def __init__(self, outputs, channels):
        super().__init__()
        self.stem = nn.Conv2d(channels, 16, 4, stride=4)
        self.theta, self.phi, self.g = nn.Conv2d(16, 8, 1), nn.Conv2d(16, 8, 1), nn.Conv2d(16, 8, 1)
        self.W = nn.Conv2d(8, 16, 1)
        self.fc = nn.Linear(16, outputs)

    def forward(self, x):
        x = torch.relu(self.stem(x))
        b = x.size(0)
        theta = self.theta(x).view(b, 8, -1).permute(0, 2, 1)
        phi = self.phi(x).view(b, 8, -1)
        f = F.softmax(torch.bmm(theta, phi), dim=-1)
        y = torch.bmm(f, self.g(x).view(b, 8, -1).permute(0, 2, 1)).permute(0, 2, 1).contiguous()
        x = self.W(y.view(b, 8, *x.size()[2:])) + x
        return self.fc(x.mean((2, 3)))
