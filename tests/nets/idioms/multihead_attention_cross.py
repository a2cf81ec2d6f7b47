"""nn.MultiheadAttention as cross-attention with a learned query (attention pooling)."""

import torch
import torch.nn as nn


class Net(nn.Module):
    def __init__(self, outputs, channels):
        super().__init__()
        self.conv = nn.Conv2d(channels, 16, 4, stride=4)
        self.query = nn.Parameter(torch.randn(1, 1, 16))
        self.attn = nn.MultiheadAttention(16, 4, batch_first=True)
        self.fc = nn.Linear(16, outputs)

    def forward(self, x):
        x = torch.relu(self.conv(x)).flatten(2).transpose(1, 2)
        pooled, _ = self.attn(self.query.expand(x.size(0), -1, -1), x, x)
        return self.fc(pooled.squeeze(1))
