"""Averaged weights: an exponential moving average over the steps of a training."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor

from coc_cli.nets.network import Network

SOONEST = 10  # steps; earlier ones, whose weights are far off, are forgotten by a tenth each


@dataclass(frozen=True)
class Average:
    """The average of all weights, scales and statistics of a network; without a `decay` it is the network itself.

    After step t (from 0) it keeps min(decay, (1 + t) / (10 + t)) of what it was.
    """

    network: Network
    decay: float
    tensors: dict[str, Tensor]

    @classmethod
    def of(cls, network: Network, decay: float) -> Average:
        """Return the average of a network that has not been trained yet."""
        return cls(network, decay, {name: value.clone() for name, value in _floats(network).items()} if decay else {})

    @torch.no_grad()
    def add(self, step: int) -> None:
        """Add the network as it is after a step."""
        if self.decay:
            share = 1 - min(self.decay, (1 + step) / (SOONEST + step))
            torch._foreach_lerp_([*self.tensors.values()], [*_floats(self.network).values()], share)

    @contextmanager
    def standing_in(self) -> Iterator[None]:
        """Let the average take the network's place."""
        if not self.decay:
            yield
            return
        own = {name: value.clone() for name, value in self.network.state_dict().items()}
        self.network.load_state_dict(self.tensors, strict=False)
        try:
            yield
        finally:
            self.network.load_state_dict(own)

    def load(self, tensors: dict[str, Tensor]) -> None:
        """Take the tensors of another average of the same network; raises `KeyError` or `RuntimeError`."""
        for name, value in self.tensors.items():
            value.copy_(tensors[name])

    def restart(self) -> None:
        """Begin anew from the network as it is."""
        if self.decay:
            self.load(_floats(self.network))


def _floats(network: Network) -> dict[str, Tensor]:
    return {name: tensor for name, tensor in network.state_dict().items() if tensor.is_floating_point()}
