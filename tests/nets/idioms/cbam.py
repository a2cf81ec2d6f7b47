"""CBAM: attention over channels, then over places."""

import torch
import torch.nn as nn
import torch.nn.functional as F


class ChannelGate(nn.Module):
    def __init__(self, c, r=4):
        super().__init__()
        self.mlp = nn.Sequential(nn.Flatten(), nn.Linear(c, c // r), nn.ReLU(), nn.Linear(c // r, c))

    def forward(self, x):
        avg = F.avg_pool2d(x, (x.size(2), x.size(3)), stride=(x.size(2), x.size(3)))
        mx = F.max_pool2d(x, (x.size(2), x.size(3)), stride=(x.size(2), x.size(3)))
        pooled = torch.cat([avg, mx], 2).mean(2, keepdim=True)
        scale = torch.sigmoid(self.mlp(pooled)).unsqueeze(2).unsqueeze(3).expand_as(x)
        return x * scale


class SpatialGate(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(2, 1, 7, padding=3, bias=False)

    def forward(self, x):
        squeezed = torch.cat((torch.max(x, 1)[0].unsqueeze(1), torch.mean(x, 1).unsqueeze(1)), dim=1)
        return x * torch.sigmoid(self.conv(squeezed))


class Net(nn.Module):
    def __init__(self, outputs, channels):
        super().__init__()
        self.conv = nn.Conv2d(channels, 16, 3, padding=1)
        self.channel_gate, self.spatial_gate = ChannelGate(16), SpatialGate()
        self.fc = nn.Linear(16, outputs)

    def forward(self, x):
        x = self.spatial_gate(self.channel_gate(torch.relu(self.conv(x))))
        return self.fc(F.adaptive_avg_pool2d(x, 1).flatten(1))
