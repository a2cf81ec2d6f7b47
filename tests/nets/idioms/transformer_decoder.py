"""nn.TransformerDecoderLayer that decodes one learned query per class."""

import torch
import torch.nn as nn


class Net(nn.Module):
    def __init__(self, outputs, channels):
        super().__init__()
        self.embed = nn.Conv2d(channels, 16, 4, stride=4)
        self.queries = nn.Parameter(torch.randn(outputs, 16))
        self.decoder = nn.TransformerDecoderLayer(16, 4, dim_feedforward=32, dropout=0.0, batch_first=True)
        self.fc = nn.Linear(16, 1)

    def forward(self, x):
        memory = self.embed(x).flatten(2).transpose(1, 2)
        return self.fc(self.decoder(self.queries.unsqueeze(0).expand(x.size(0), -1, -1), memory)).squeeze(-1)
