"""Which tensors between layers are quantised, and to how many bits.

A quantiser stands on the network's input; on the output of every layer after the norm and the activation that follow
it, so that an integer runtime finds one on both sides of each convolution; on what a layer reads, where that is none
of these (the average pool before a classifier), and on what is averaged there (the last sum); and on both operands of
every sum and product between tensors. A layer that requests fewer bits than the tensor it reads has gets it quantised
once more.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from torch import nn
from torch.fx import Graph, Node

from coc_cli.nets.graph import (
    ELEMENTWISE,
    belongs_to_layer,
    is_number,
    layer_name,
    layer_nodes,
    operation,
)
from coc_cli.nets.names import EDGES, edge_path, is_edge, is_head
from coc_cli.nets.spec import FLOAT_BITS, Edge

NEVER_NEGATIVE = frozenset(("relu", "relu6", "hardsigmoid", "sigmoid"))
# These move values about or drop some, so values on the grid of codes stay on it.
VALUE_PRESERVING = frozenset(
    ("flatten", "view", "reshape", "contiguous", "permute", "transpose", "getitem", "chunk", "split", "pad", "squeeze")
    + ("unsqueeze", "identity", "dropout", "dropout2d", "maxpool2d", "max_pool2d", "adaptivemaxpool2d", "zeropad2d")
    + ("channelshuffle", "stochasticdepth", "droppath")
)
AVERAGES = frozenset(("avgpool2d", "adaptiveavgpool2d", "avg_pool2d", "adaptive_avg_pool2d", "mean"))


def _chain_end(layer: Node, root: nn.Module) -> Node:
    """Return the last node of a layer with its norm and activation."""
    node = layer
    while len(node.users) == 1:
        (user,) = node.users
        if not belongs_to_layer(user, root):
            break
        node = user
    return node


def _origin(node: Node, root: nn.Module) -> Node:
    """Return the node behind operations that preserve values, such as a flatten."""
    while operation(node, root) in VALUE_PRESERVING and node.args and isinstance(node.args[0], Node):
        node = node.args[0]
    return node


def _averaged(layer: Node, root: nn.Module) -> Iterator[Node]:
    """Yield the tensor of which a layer reads an average."""
    node = _origin(_reads(layer), root)
    while operation(node, root) in AVERAGES and isinstance(node.args[0], Node):
        yield (node := _origin(node.args[0], root))


def _may_be_negative(node: Node, root: nn.Module) -> bool:
    while operation(node, root) in VALUE_PRESERVING | AVERAGES and node.args and isinstance(node.args[0], Node):
        node = node.args[0]
    return operation(node, root) not in NEVER_NEGATIVE


def _operands(graph: Graph, root: nn.Module) -> Iterator[Node]:
    for node in graph.nodes:
        if operation(node, root) in ELEMENTWISE:
            tensors = [arg for arg in node.args if isinstance(arg, Node) and not is_number(arg)]
            if len(tensors) > 1:
                yield from tensors


def summed(graph: Graph, root: nn.Module) -> set[str]:
    """Return the names of the tensors that enter a sum or a product of two tensors, before any quantiser."""
    operands = {origin for node in _operands(graph, root) for origin in (node, _origin(node, root))}
    quantizers = {node for node in operands if is_edge(str(node.target))}
    return {node.name for node in operands} | {str(node.args[0]) for node in quantizers}


def _reaches_output_only(node: Node, root: nn.Module) -> bool:
    return all(
        user.op == "output" or (operation(user, root) in VALUE_PRESERVING and _reaches_output_only(user, root))
        for user in node.users
    )


@dataclass(frozen=True)
class ActivationBitsPolicy:
    """The bits of edges: those that each layer requests of its input, and those of sums and all other tensors."""

    requested: Callable[[str], int]  # by layer name; 32 leaves the layer's input as it is
    residual: int


def place(graph: Graph, root: nn.Module, policy: ActivationBitsPolicy) -> dict[str, Edge]:
    """Return all edges of a network without any, by name, in the order of the graph."""
    order = {node: index for index, node in enumerate(graph.nodes)}
    layers = layer_nodes(graph, root)
    requested = {layer: policy.requested(layer_name(layer)) for layer in layers}
    if all(bits == FLOAT_BITS for bits in requested.values()):
        return {}
    places = {_chain_end(layer, root) for layer in layers if requested[layer] < FLOAT_BITS}
    places |= {node for node in graph.nodes if node.op == "placeholder"} | set(_operands(graph, root))
    places |= {node for layer in layers if requested[layer] < FLOAT_BITS for node in _averaged(layer, root)}
    places = {node for node in places if not _reaches_output_only(node, root)}
    places |= {
        _reads(layer)
        for layer in layers
        if requested[layer] < FLOAT_BITS and _origin(_reads(layer), root) not in places
    }
    residual = summed(graph, root)
    edges: dict[str, Edge] = {}
    for node in sorted(places, key=order.__getitem__):
        readers = {layer: requested[layer] for layer in layers if node in (_reads(layer), _origin(_reads(layer), root))}
        if readers and set(readers.values()) == {FLOAT_BITS} and node.name not in residual:
            continue
        readers = {layer: bits for layer, bits in readers.items() if bits < FLOAT_BITS}
        own = max(readers.values(), default=policy.residual)
        if node.name in residual:
            own = max(own, policy.residual)
        signed = _may_be_negative(node, root)
        edges[node.name] = Edge(source=node.name, bits=own, signed=False).with_sign(signed)
        for reader, bits in readers.items():
            if bits < own:
                source = _reads(reader)
                new = Edge(source=source.name, bits=bits, signed=False).with_sign(signed)
                narrower = edges.get(name := f"{source.name}_to{bits}", new)
                edges[name] = narrower.model_copy(update={"users": (*narrower.users, reader.name)})
    return edges


def _reads(layer: Node) -> Node:
    node = layer.args[0]
    assert isinstance(node, Node)
    return node


def place_heads(graph: Graph, root: nn.Module, policy: ActivationBitsPolicy, edges: dict[str, Edge]) -> dict[str, Edge]:
    """Return the edges of a network, from those of its backbone, with those that its heads need added.

    The backbone's stay as they are: a head that requests fewer bits rounds its input once more, for itself.
    """
    source = {node.name: str(node.target) for node in graph.nodes}
    added = {name: edge for name, edge in place(graph, root, policy).items() if is_head(source[edge.source])}
    for layer in layer_nodes(graph, root):
        reads, requested = _reads(layer), policy.requested(layer_name(layer))
        origin = _origin(reads, root)
        if not is_head(layer_name(layer)) or is_head(str(origin.target)) or requested == FLOAT_BITS:
            continue
        if origin.name not in edges or edges[origin.name].bits > requested:
            name = f"{reads.name}_exit{requested}"
            new = Edge(source=reads.name, bits=requested, signed=False).with_sign(_may_be_negative(reads, root))
            narrower = added.get(name, new)
            added[name] = narrower.model_copy(update={"users": (*narrower.users, layer.name)})
    return {**edges, **added}


def insert(graph: Graph, edges: dict[str, Edge]) -> dict[str, str]:
    """Insert a call of `edges.NAME` behind each source, in place; return new nodes' names by those of their sources.

    Without `users` every user of the source reads the rounded tensor; with them only these do, and the tensor that is
    rounded is the one that they read so far.
    """
    by_name = {node.name: node for node in graph.nodes}
    rounded = {}
    for name, edge in edges.items():
        before = by_name[edge.users[0]].args[0] if edge.users else by_name[edge.source]
        assert isinstance(before, Node)
        users = [by_name[user] for user in edge.users] or list(before.users)
        with graph.inserting_after(before):
            quantizer = graph.call_module(edge_path(name), (before,))
        for user in users:
            user.replace_input_with(before, quantizer)
        if not edge.users:
            rounded[edge.source] = quantizer.name
    return rounded


def input_bits(layer: Node, root: nn.Module, edges: dict[str, Edge]) -> int:
    """Return the bits of the tensor that a layer reads; 32 where no quantiser made it."""
    node = _origin(_reads(layer), root)
    name = str(node.target).removeprefix(EDGES)
    return edges[name].bits if node.op == "call_module" and name in edges else FLOAT_BITS
