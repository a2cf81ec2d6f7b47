"""The initial scales of new quantisers: calibrated on weights, and on edges by training images."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from coc_cli.nets.layers import ActivationQuantizer, QuantizedWeight
from coc_cli.nets.names import edge_path
from coc_cli.nets.network import Network, build, with_spec
from coc_cli.nets.spec import Edge, Spec

if TYPE_CHECKING:
    from coc_cli.data.images import Split

CALIBRATION_IMAGES = 512


def initialize_quantizers(network: Network, spec: Spec, train: Split, device: str) -> Network:
    """Return a network of `spec` with the tensors of `network`, on `device`; quantisers that are new start calibrated.

    A quantiser is new unless `network` has the same edge, or the same bits for the layer. Scales of weights are fitted
    to the weights, those of edges to their values on the first images of `train`.
    """
    # An 8-bit network that gets 2-bit weights and 8-bit edges keeps the learned scales of its edges; only the scales
    # of its weights start again. Signs are not compared: the old one was calibrated, the new one is a guess.
    before = network.spec
    same = {name for name, edge in spec.edges.items() if _unsigned(before.edges.get(name)) == _unsigned(edge)}
    spec = spec.with_changes(
        edges={name: before.edges[name] if name in same else edge for name, edge in spec.edges.items()}
    )
    quantized = build(spec).to(device)
    dropped = tuple(f"{edge_path(name)}." for name in before.edges if name not in same)
    inherited = {name: value for name, value in network.state_dict().items() if not name.startswith(dropped or ("-",))}
    quantized.load_state_dict(inherited, strict=False)
    new_bits = [name for name, bits in spec.bits.items() if before.bits.get(name) != bits]
    new_edges = [name for name in quantized.edges if name not in same]
    _calibrate_weights(quantized, new_bits)
    calibrated = _calibrate_edges(quantized, new_edges, train)
    return with_spec(quantized, spec.with_changes(edges={**spec.edges, **calibrated}))


def _calibrate_weights(network: Network, names: list[str]) -> None:
    for name in names:
        layer = network.layer(name)
        assert isinstance(layer, QuantizedWeight)
        layer.calibrate()


@torch.no_grad()
def _calibrate_edges(network: Network, names: list[str], train: Split) -> dict[str, Edge]:
    """Set the scales of some edges, in place; return them with the signs that they turned out to have."""
    quantizers: dict[str, ActivationQuantizer] = {}
    for name in names:
        quantizer = network.edges[name]
        assert isinstance(quantizer, ActivationQuantizer)
        quantizer.samples = []
        quantizers[name] = quantizer
    if quantizers:
        first = torch.arange(min(CALIBRATION_IMAGES, len(train)))
        network.eval()(network.normalise(train.take(first)))
    for quantizer in quantizers.values():
        quantizer.calibrate()
    return {name: quantizer.edge for name, quantizer in quantizers.items()}


def _unsigned(edge: Edge | None) -> Edge | None:
    return edge and edge.with_sign(False)
