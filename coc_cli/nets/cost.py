"""What a network costs: counted from its spec, not modelled.

BitOps of a layer = MACs x weight bits x activation bits; an unquantised operand counts 32. Convolutions and linear
layers count, and products of two tensors (attention), which stay in floating point; all else counts nothing, as is
usual in the field.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import torch

from coc_cli.nets.graph import layer_name
from coc_cli.nets.layers import weight_bits
from coc_cli.nets.macs import macs_by_node
from coc_cli.nets.names import is_edge, is_head
from coc_cli.nets.network import build
from coc_cli.nets.spec import FLOAT_BITS, Spec


@dataclass(frozen=True)
class LayerCost:
    """One convolution or linear layer, or one product of two tensors, for one input image."""

    name: str
    segment: int
    macs: int
    params: int
    weight_bits: int
    activation_bits: int
    shape: tuple[int, ...] = ()  # of the weights; empty for a product

    @property
    def bitops(self) -> int:
        return self.macs * self.weight_bits * self.activation_bits

    @property
    def is_head(self) -> bool:
        """Whether it belongs to an exit."""
        return is_head(self.name)


@dataclass(frozen=True)
class Cost:
    """A network's cost per image, layer by layer."""

    layers: tuple[LayerCost, ...]
    params: int  # weights, biases and norms; quantiser scales are not counted
    reach: tuple[float, ...] = (1.0,)  # by segment: the fraction of images that run it

    @property
    def macs(self) -> float:
        return sum(layer.macs * self.reach[layer.segment] for layer in self.layers)

    @property
    def bitops(self) -> float:
        return sum(layer.bitops * self.reach[layer.segment] for layer in self.layers)

    @property
    def quantized_share(self) -> float:
        """The share of the MACs whose weights and inputs are both rounded."""
        done = sum(one.macs for one in self.layers if max(one.weight_bits, one.activation_bits) < FLOAT_BITS)
        return done / max(1, sum(one.macs for one in self.layers))

    def leaving(self, exit_rates: Sequence[float]) -> Cost:
        """Return the mean cost at these fractions of images that leave at each exit, the final one included."""
        reach = tuple(sum(exit_rates[index:]) for index in range(len(self.reach)))
        return Cost(self.layers, self.params, reach)

    def cheapest(self) -> Cost:
        """Return the cost of an image that leaves at the first exit."""
        return self.leaving([1.0, *[0.0] * (len(self.reach) - 1)])

    def nominal_ratio(self, baseline: Cost) -> float:
        """Return the ratio of MACs x w x a to the baseline's, without heads, as papers report it.

        w and a are those of most MACs between first and last layer; against a float baseline this is MACs ratio x
        1024 / (w x a).
        """
        return baseline._nominal_bitops() / self._nominal_bitops()

    def _nominal_bitops(self) -> float:
        backbone = tuple(layer for layer in self.layers if not layer.is_head)
        macs: Counter[tuple[int, int]] = Counter()
        for layer in backbone[1:-1] or backbone:
            macs[layer.weight_bits, layer.activation_bits] += layer.macs
        weight, activation = max(macs, key=lambda bits: (macs[bits], bits))
        return Cost(backbone, self.params, self.reach).macs * weight * activation


def cost(spec: Spec) -> Cost:
    """Return what a network costs, counted from its spec alone."""
    network = build(spec, device="meta").eval()
    bits = network.input_bits()
    segment_of = {name: index for index, stretch in enumerate(network.segments) for name in stretch.nodes}
    layers = []
    for node, macs in macs_by_node(network).items():
        if node.op == "call_module":
            name = layer_name(node)
            layer = network.layer(name)
            params = sum(p.numel() for n, p in layer.named_parameters() if n != "weight_scale")
            assert isinstance(layer.weight, torch.Tensor)
            operands = weight_bits(layer), bits[name], tuple(layer.weight.shape)
        else:
            name, params = node.name, 0
            operands = FLOAT_BITS, FLOAT_BITS, ()
        layers.append(LayerCost(name, segment_of[node.name], macs, params, *operands))
    named = network.named_parameters()
    total = sum(p.numel() for n, p in named if not n.endswith("weight_scale") and not is_edge(n))
    return Cost(tuple(layers), total, (1.0,) * len(network.segments))
