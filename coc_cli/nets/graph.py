"""The graph of a network, named: what each node does, which layer it calls, and where a layer is in the network."""

from __future__ import annotations

from torch import nn
from torch.fx import Graph, Node

from coc_cli.nets.names import layer_at
from coc_cli.nets.operations import OPERATIONS
from coc_cli.nets.running import operation_of

WEIGHTED = nn.modules.conv._ConvNd | nn.Linear  # noqa: SLF001  (the common base of convolutions has no public name)

ACTIVATIONS = frozenset(
    ("relu", "relu6", "silu", "swish", "gelu", "hardswish", "hardsigmoid", "hardtanh", "sigmoid", "tanh")
    + ("leakyrelu", "leaky_relu", "elu", "mish", "clamp")
)
ELEMENTWISE = frozenset(("add", "iadd", "mul", "imul", "sub"))


def operation(node: Node, root: nn.Module) -> str:
    """Return one lower-case name for what a node does, however it is written: 'conv2d', 'relu', 'add', 'flatten'."""
    if node.op == "call_module":
        return type(root.get_submodule(str(node.target))).__name__.lower()
    return operation_of(node) if node.op == "call_function" else node.op


def is_layer(node: Node, root: nn.Module) -> bool:
    """Return whether the node is a convolution or a linear layer."""
    return node.op == "call_module" and isinstance(root.get_submodule(str(node.target)), WEIGHTED)


def layer_name(node: Node) -> str:
    """Return the name of the layer that a node calls: that in the backbone, or exits.N.NAME in a head."""
    return layer_at(str(node.target))


def layer_nodes(graph: Graph, root: nn.Module) -> list[Node]:
    """Return the nodes of all layers, in execution order."""
    return [node for node in graph.nodes if is_layer(node, root)]


def _is_norm(node: Node, root: nn.Module) -> bool:
    if node.op != "call_module":
        return False
    return isinstance(root.get_submodule(str(node.target)), nn.modules.batchnorm._BatchNorm | nn.GroupNorm)  # noqa: SLF001


def belongs_to_layer(node: Node, root: nn.Module) -> bool:
    """Return whether a node is a norm or an activation, which an integer runtime folds into the layer before it."""
    return _is_norm(node, root) or operation(node, root) in ACTIVATIONS


def node_named(graph: Graph, name: str) -> Node | None:
    """Return the node of that name, or None."""
    return next((node for node in graph.nodes if node.name == name), None)


_OF_SIZES = frozenset(("add", "sub", "mul", "div", "floordiv", "mod", "reversed_sub", "reversed_div"))


def is_number(node: Node) -> bool:
    """Return whether a node's value is no tensor: a size, what is computed from sizes, or a flag."""
    if node.op == "get_attr":
        return str(node.target).endswith(".training")
    if node.op != "call_function":
        return False
    operation = operation_of(node)
    if operation in _OF_SIZES:
        return bool(node.all_input_nodes) and all(map(is_number, node.all_input_nodes))
    return OPERATIONS[operation].kind == "number"
