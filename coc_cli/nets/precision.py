"""How many bits each layer gets, by its role: first, inner, last, and the sums between layers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

from coc_cli.nets import quantizer_places
from coc_cli.nets.layers import Layer
from coc_cli.nets.names import is_head
from coc_cli.nets.network import Network, build, without_quantizers
from coc_cli.nets.spec import FLOAT_BITS, Spec


@dataclass(frozen=True)
class LayerBits:
    """Bits of a layer's weights and of the tensor that it reads; 32 leaves them as they are."""

    weights: int
    activations: int


@dataclass(frozen=True)
class Precision:
    """Bits by role; `layers` overrides those of single layers by name."""

    first: LayerBits
    inner: LayerBits
    last: LayerBits
    residual: int
    layers: Mapping[str, LayerBits] = field(default_factory=dict)

    def __str__(self) -> str:
        roles = (("first", self.first), ("inner", self.inner), ("last", self.last))
        return ", ".join(f"{role} w{b.weights}a{b.activations}" for role, b in roles) + f", sums {self.residual}"

    def by_layer(self, names: list[str]) -> dict[str, LayerBits]:
        """Return every layer's bits; `names` are all layers in execution order, heads among them.

        The last layer of a head is a classifier too and gets the bits of the last, its other layers are inner ones.
        """
        backbone = [name for name in names if not is_head(name)]
        classifiers = [name for name in names if is_head(name) and name.endswith(".linear")]
        bits = dict.fromkeys(names, self.inner) | {backbone[0]: self.first}
        return bits | dict.fromkeys([*classifiers, backbone[-1]], self.last) | dict(self.layers)


def unsupported(network: Network) -> dict[str, str]:
    """Return, by name, the class of each layer that cannot be quantised: not exactly Conv2d or Linear."""
    kinds = Layer.__args__  # type: ignore[attr-defined]
    return {name: type(layer).__name__ for name, layer in network.layers.items() if type(layer) not in kinds}


def with_precision(spec: Spec, precision: Precision) -> Spec:
    """Return the spec with these bits in place of its own; the signs of edges are inferred from the graph."""
    network = build(without_quantizers(spec), device="meta")
    bits = precision.by_layer(list(network.layers))
    policy = quantizer_places.ActivationBitsPolicy(lambda name: bits[name].activations, precision.residual)
    return spec.with_changes(
        bits={name: b.weights for name, b in bits.items() if b.weights < FLOAT_BITS},
        edges=quantizer_places.place(network.graph, network, policy),
    )


def with_rounded_heads(spec: Spec, precision: Precision) -> Spec:
    """Return a quantised spec, its backbone unchanged, with bits for the heads of its exits as well."""
    network = build(without_quantizers(spec), device="meta")
    bits = precision.by_layer(list(network.layers))
    policy = quantizer_places.ActivationBitsPolicy(lambda name: bits[name].activations, precision.residual)
    edges = quantizer_places.place_heads(network.graph, network, policy, spec.edges)
    heads = {name: b.weights for name, b in bits.items() if is_head(name) and b.weights < FLOAT_BITS}
    return spec.with_changes(bits={**spec.bits, **heads}, edges=edges)


def layers_with_own_bits(spec: Spec) -> list[str]:
    """Return the layers of a quantised spec whose bits are not those of their role."""
    precision = precision_of(spec)
    if precision is None:
        return []
    network = build(spec, device="meta")
    reads, roles = network.input_bits(), precision.by_layer(list(network.layers))
    return [
        name
        for name in network.layers
        if roles[name] != LayerBits(spec.bits.get(name, FLOAT_BITS), reads[name]) and not is_head(name)
    ]


def precision_of(spec: Spec) -> Precision | None:
    """Return the bits of a quantised spec by role, the most common where a role has several; None for a float one."""
    if not spec.bits and not spec.edges:
        return None
    network = build(spec, device="meta")
    reads = network.input_bits()
    names = [name for name in network.layers if not is_head(name)]
    first, *inner, last = [LayerBits(spec.bits.get(name, FLOAT_BITS), reads[name]) for name in names]
    summed = quantizer_places.summed(network.graph, network)
    residual = Counter(edge.bits for edge in spec.edges.values() if edge.source in summed and not edge.users)
    return Precision(
        first=first,
        inner=Counter(inner or [first]).most_common(1)[0][0],
        last=last,
        residual=residual.most_common(1)[0][0] if residual else 8,
    )
