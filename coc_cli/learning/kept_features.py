"""What the heads of a network read of a backbone that does not change: computed once for each view of the images."""

from __future__ import annotations

import torch
from torch import Tensor

from coc_cli.data.images import Split
from coc_cli.nets.arithmetic import Arithmetic
from coc_cli.nets.network import Network
from coc_cli.nets.segments import split_heads

BATCH = 128


class FrozenBackbone:
    """A network whose heads alone are trained, on what they read: `features` once, `outputs` in every step."""

    def __init__(self, network: Network) -> None:
        self.network = network
        self.backbone, self.heads = split_heads(network.graph)
        read = (name for head in self.heads for name in head.inputs)
        self.names = tuple(dict.fromkeys([*read, self.backbone[-1].outputs[-1]]))

    def features(self, x: Tensor) -> list[Tensor]:
        """Return what heads read of normalised images [B, C, H, W], and the final output [B, K], each [B, ...]."""
        values = dict(zip(self.backbone[0].inputs, (x,), strict=True))
        with self.network.casting():
            for segment in self.backbone:
                made = segment.run(self.network, *(values[name] for name in segment.inputs))
                values.update(zip(segment.outputs, made, strict=True))
        return [values[name] for name in self.names]

    def outputs(self, features: tuple[Tensor, ...]) -> list[Tensor]:
        """Return the outputs of all exits, as the network's own `forward`, from its features."""
        values = dict(zip(self.names, features, strict=True))
        with self.network.casting():
            inner = [head.run(self.network, *(values[name] for name in head.inputs))[0] for head in self.heads]
        return [output.float() for output in (*inner, values[self.names[-1]])]


class KeptFeatures:
    """The features of all views of the training images, in memory, where they fit."""

    def __init__(self, frozen: FrozenBackbone, arithmetic: Arithmetic) -> None:
        self.frozen, self.arithmetic = frozen, arithmetic

    @torch.no_grad()
    def of(self, images: Split) -> tuple[Tensor, ...]:
        """Return the features of a view, each [N, ...], on the network's device."""
        network = self.frozen.network
        was_training = network.training
        network.eval()
        with network.computing(self.arithmetic):
            parts = [self.frozen.features(network.normalise(batch)) for batch, _ in images.batches(BATCH)]
        network.train(was_training)
        return tuple(torch.cat(each) for each in zip(*parts, strict=True))

    def fit(self, train: Split, views: int, memory: float) -> bool:
        """Return whether the features of so many views of the images fit into so many bytes."""
        one = self.of(train.first(1))
        return sum(tensor.nbytes for tensor in one) * len(train) * views <= memory
