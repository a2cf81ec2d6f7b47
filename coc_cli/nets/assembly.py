"""From a traced network to the graph of a spec, and from that to a graph that runs and the modules that it calls."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.fx import Graph, Node

from coc_cli.errors import StageError, first_line
from coc_cli.nets.names import BACKBONE
from coc_cli.nets.operations import OPERATIONS
from coc_cli.nets.plain_modules import made
from coc_cli.nets.running import function_of, operation_of
from coc_cli.nets.trace_comparison import Traced
from coc_cli.nets.traced_graph import INPUT, MODULE, TENSOR, TRAINING, GraphModule, GraphTensor, NetworkGraph
from coc_cli.nets.traced_values import held_tensors


def described(traced: Traced, trained: frozenset[str]) -> NetworkGraph:
    """Return a traced network as a spec holds it; `trained` are the names of its parameters."""
    nodes = []
    for node in traced.graph.nodes:
        if node.op in ("placeholder", "output"):
            continue
        target = str(node.target).removeprefix(BACKBONE)
        scope = str(node.meta["scope"]).removeprefix(BACKBONE.rstrip(".")).lstrip(".")
        if node.op == "call_module":
            operation, place = MODULE, target
        elif node.op == "get_attr":
            operation, place = (TRAINING, scope) if target == TRAINING else (TENSOR, target)
        else:
            operation, place = operation_of(node), scope
        nodes.append((node.name, operation, tuple(_encoded(arg) for arg in node.args), place))
    used = {place for _, operation, _, place in nodes if operation in (MODULE, TENSOR)}
    return NetworkGraph(
        nodes=tuple(nodes),
        output=str(traced.graph.output_node().args[0]),
        modules={
            path: GraphModule(kind=kind, arguments={name: _encoded(value) for name, value in arguments.items()})
            for path, (kind, arguments) in traced.modules.items()
            if path in used
        },
        tensors={
            path: _tensor(path, tensor, trained=path in trained)
            for path, tensor in traced.tensors.items()
            if path in used
        },
    )


def _tensor(path: str, tensor: Tensor, *, trained: bool) -> GraphTensor:
    kind: Any = str(tensor.dtype).removeprefix("torch.")
    try:
        return GraphTensor(shape=tuple(tensor.shape), trained=trained, dtype=kind)
    except ValueError as error:
        raise StageError(f"'{path}' holds numbers of the type {kind}; make it float32 or int64", "arch") from error


def _encoded(value: Any) -> Any:
    """Return an argument in the form of a spec."""
    if isinstance(value, tuple | list):
        return tuple(_encoded(item) for item in value)
    if isinstance(value, slice):
        return {"slice": tuple(_encoded(part) for part in (value.start, value.stop, value.step))}
    if isinstance(value, float) and not math.isfinite(value):
        return {"number": str(value)}
    special = {"text": value} if isinstance(value, str) else {"rest": True} if value is ... else value
    return value.name if isinstance(value, Node) else special


def _decoded(value: Any, nodes: dict[str, Node]) -> Any:
    if isinstance(value, str):
        return nodes[value]
    if isinstance(value, tuple | list):
        return tuple(_decoded(item, nodes) for item in value)
    if isinstance(value, dict):
        ((kind, content),) = value.items()
        if kind == "slice":
            return slice(*_decoded(content, nodes))
        return {"text": lambda: content, "rest": lambda: ..., "number": lambda: float(content)}[kind]()
    return value


def graph_of(described_graph: NetworkGraph) -> Graph:
    """Return a graph that runs; names of modules and tensors begin with `backbone.`."""
    graph = Graph()
    nodes: dict[str, Node] = {INPUT: graph.placeholder(INPUT)}
    for name, operation, arguments, place in described_graph.nodes:
        args = tuple(_decoded(argument, nodes) for argument in arguments)
        scope = f"{BACKBONE}{place}".rstrip(".")
        if operation == MODULE:
            node = graph.create_node("call_module", scope, args, name=name)
            scope = scope.rpartition(".")[0]
        elif operation in (TENSOR, TRAINING):
            target = f"{BACKBONE}{TRAINING}" if operation == TRAINING else scope
            node = graph.create_node("get_attr", target, name=name)
        else:
            node = graph.create_node("call_function", function_of(OPERATIONS[operation].name), args, name=name)
        if node.name != name:
            raise StageError(f"the node '{name}' has a name that is taken", "arch")
        node.meta["scope"] = scope
        nodes[name] = node
    graph.output(nodes[described_graph.output])
    return graph


class Backbone(nn.Module):
    """The modules and tensors that a graph reads, each at its path."""


def backbone_of(described_graph: NetworkGraph) -> Backbone:
    """Return fresh modules for a graph; raises `StageError` where one cannot be made."""
    backbone = Backbone()
    for path, module in described_graph.modules.items():
        arguments = {name: _word(value) for name, value in module.arguments.items()}
        try:
            part = made(module.kind, arguments)
            parent, last = _parent(backbone, path)
            parent.add_module(last, part)
        except _CANNOT as error:
            raise StageError(f"{module.kind} '{path}' cannot be made: {first_line(error)}", "arch") from error
    for path, tensor in described_graph.tensors.items():
        empty = torch.zeros(tensor.shape, dtype=getattr(torch, tensor.dtype))
        try:
            parent, last = _parent(backbone, path)
            if tensor.trained:
                parent.register_parameter(last, nn.Parameter(empty))
            else:
                parent.register_buffer(last, empty)
        except _CANNOT as error:
            raise StageError(f"tensor '{path}' cannot be made: {first_line(error)}", "arch") from error
    return backbone


_CANNOT = (RuntimeError, TypeError, ValueError, AssertionError, OverflowError, KeyError, AttributeError)


def _word(value: Any) -> Any:
    """Return a constructor's argument; a text is one of the listed words there."""
    if isinstance(value, dict):
        ((_, content),) = value.items()
        return content if isinstance(content, str) and not content.endswith("inf") else float(content)
    return tuple(_word(item) for item in value) if isinstance(value, tuple | list) else value


def _parent(backbone: nn.Module, path: str) -> tuple[nn.Module, str]:
    *parents, last = path.split(".")
    for name in parents:
        if name not in backbone._modules:  # noqa: SLF001
            backbone.add_module(name, nn.Module())
        backbone = backbone._modules[name]  # type: ignore[assignment]  # noqa: SLF001
    return backbone, last


def tensors_of(traced: Traced, root: nn.Module) -> dict[str, Tensor]:
    """Return the tensors of a traced network by their names in the graph, those of `root` where it has them."""
    held = held_tensors(root)
    found = {name: held.get(name, tensor) for name, tensor in traced.tensors.items()}
    for path in traced.modules:
        found.update({name: tensor for name, tensor in held.items() if name.rpartition(".")[0] == path})
    return {**found, **{new: held[old] for new, old in traced.sources.items()}}
