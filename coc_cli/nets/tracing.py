"""Tracing a network into a graph in which nothing happens in place and training flags are looked up."""

from __future__ import annotations

import inspect
import operator
import re
from typing import Any

import torch
from torch import nn
from torch.fx import Graph, Node, Tracer

from coc_cli.errors import StageError
from coc_cli.nets.graph import WEIGHTED, is_number, operation
from coc_cli.nets.names import layer_at


class LeafTracer(Tracer):
    """Goes only into modules that hold a convolution or a linear layer.

    Norms, norm-and-activation, drop path, dropout and pooling stay modules, so they keep looking at the training flag
    when the network runs instead of having it baked in when it is traced.
    """

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:  # noqa: ARG002
        if isinstance(m, nn.Sequential):
            return False
        return isinstance(m, WEIGHTED) or not any(isinstance(inner, WEIGHTED) for inner in m.modules())


def trace(root: nn.Module) -> Graph:
    """Return the graph of `root.forward`; raises `StageError` naming the module where it cannot be traced.

    It is the same in training and in evaluation but for training flags, which are looked up when it runs.
    Nothing is changed in place: modules of `root` lose their `inplace`, so that a head or a quantiser may read any
    tensor.
    """
    graph = _flagged(_traced(root.train()), _traced(root.eval()))
    root.train()
    _out_of_place(graph, root)
    _sink_numbers(graph)
    for node in graph.nodes:
        if node.op == "call_method" and node.target == "view":
            node.target = "reshape"  # the same, but for tensors that lie channels last
    _check(graph, root)
    return graph


def _traced(root: nn.Module) -> Graph:
    tracer = LeafTracer()
    try:
        return tracer.trace(root)
    except Exception as error:
        inside = next(reversed(tracer.module_stack.values()), ("", type(root)))[0] or "the network's forward"
        first = (str(error).splitlines() or [type(error).__name__])[0]
        raise StageError(f"cannot be traced: in {inside}: {first}", "arch") from error


def _module_of(node: Node) -> str:
    """Return the name of the module in whose forward a node stands."""
    stack = list(node.meta.get("nn_module_stack", {"the network's forward": None}))
    if node.op == "call_module":
        stack = stack[:-1] or stack
    return str(stack[-1]).split("@")[0]


def _flagged(training: Graph, evaluation: Graph) -> Graph:
    """Return the first graph, with a look-up of the training flag where it has True and the other False."""
    # F.dropout(x, 0.1, training=self.training) traces to the constant True in one graph and False in the other; here
    # it becomes a get_attr of the module's `training`. The two are walked node by node: any other difference is code
    # that branches on the mode, which one graph cannot hold.
    pairs = list(zip(training.nodes, evaluation.nodes, strict=False))
    for one, other in pairs:
        flags: list[Node] = []

        def merged(a: Any, b: Any, one: Node = one, flags: list[Node] = flags) -> Any:
            if isinstance(a, Node) and isinstance(b, Node) and a.name == b.name:
                return a
            if isinstance(a, (tuple, list)) and isinstance(b, (tuple, list)) and len(a) == len(b):
                return type(a)(merged(x, y) for x, y in zip(a, b, strict=True))
            if isinstance(a, dict) and isinstance(b, dict) and a.keys() == b.keys():
                return {key: merged(a[key], b[key]) for key in a}
            if a is True and b is False:
                with training.inserting_before(one):
                    flags.append(training.create_node("get_attr", f"{_module_of(one)}.training"))
                return flags[-1]
            if type(a) is not type(b) or a != b:
                raise _differs(one)
            return a

        if (one.op, one.target) != (other.op, other.target):
            raise _differs(one)
        one.args, one.kwargs = merged(one.args, other.args), merged(one.kwargs, other.kwargs)
    if len(pairs) < max(len(evaluation.nodes), len(pairs)):
        raise _differs(pairs[-1][0])
    return training


def _differs(node: Node) -> StageError:
    where = layer_at(_module_of(node))
    return StageError(f"cannot be traced: in {where}: it does another thing in training than in evaluation", "arch")


_OUT_OF_PLACE: dict[Any, Any] = {
    operator.iadd: operator.add,
    operator.isub: operator.sub,
    operator.imul: operator.mul,
    operator.itruediv: operator.truediv,
}


def _out_of_place(graph: Graph, root: nn.Module) -> None:
    """Let every operation make a new tensor; users that came after a change in place read that one."""
    order = {node: index for index, node in enumerate(graph.nodes)}
    for node in list(graph.nodes):
        was_in_place = False
        if node.op == "call_module":
            was_in_place = bool(getattr(root.get_submodule(str(node.target)), "inplace", False))
        elif node.op == "call_method" and re.fullmatch(r"[a-z]\w*[a-z0-9]_", str(node.target)):
            node.target, was_in_place = str(node.target)[:-1], True
        elif node.op == "call_function":
            was_in_place = _plain_function(node)
        if was_in_place and isinstance(changed := node.args[0], Node):
            later = [user for user in changed.users if order.get(user, -1) > order[node]]
            for user in later:
                user.replace_input_with(changed, node)
    for module in root.modules():
        if getattr(module, "inplace", False):
            module.inplace = False  # type: ignore[assignment]


def _plain_function(node: Node) -> bool:
    """Replace a function that changes its first argument by one that does not; return whether it did."""
    name = getattr(node.target, "__name__", "")
    if node.target in _OUT_OF_PLACE:
        node.target = _OUT_OF_PLACE[node.target]
        return True
    if name.endswith("_") and hasattr(torch, name[:-1]):  # torch.relu_, F.relu_
        node.target = getattr(torch, name[:-1])
        return True
    try:
        names = list(inspect.signature(node.target).parameters)  # type: ignore[arg-type]
    except (TypeError, ValueError):  # of a function written in C
        return False
    if "inplace" not in names:
        return False
    at = names.index("inplace")
    was_in_place = bool(node.args[at] if at < len(node.args) else node.kwargs.get("inplace", False))
    node.args, node.kwargs = node.args[:at], {key: v for key, v in node.kwargs.items() if key != "inplace"}
    return was_in_place


def _sink_numbers(graph: Graph) -> None:
    """Move each number to just before the operation that uses it, so that segments pass on tensors only."""
    for node in list(graph.nodes):
        if not is_number(node):
            for number in filter(is_number, node.all_input_nodes):
                with graph.inserting_before(node):
                    node.replace_input_with(number, _copied(graph, number))
    for node in reversed(list(graph.nodes)):
        if is_number(node) and not node.users:
            graph.erase_node(node)


def _copied(graph: Graph, number: Node) -> Node:
    copies = {inner: _copied(graph, inner) for inner in number.all_input_nodes if is_number(inner)}
    return graph.node_copy(number, lambda node: copies.get(node, node))


_AS_FUNCTIONS = frozenset(("conv1d", "conv2d", "conv3d", "conv_transpose2d", "linear", "bilinear"))


def _check(graph: Graph, root: nn.Module) -> None:
    """Raise `StageError` for what would run but not be counted, or run twice and be counted once."""
    called: set[str] = set()
    for node in graph.nodes:
        where = layer_at(_module_of(node))
        if node.op == "call_function" and operation(node, root) in _AS_FUNCTIONS:
            raise StageError(
                f"in {where}: calls {operation(node, root)} as a function; make it a layer, a torch.nn module", "arch"
            )
        if node.op == "call_module" and isinstance(root.get_submodule(str(node.target)), WEIGHTED):
            if node.target in called:
                name = layer_at(str(node.target))
                raise StageError(f"layer '{name}' runs twice in one pass; give each run a layer of its own", "arch")
            called.add(str(node.target))
            if not node.args:  # called by keyword
                node.args, node.kwargs = tuple(node.kwargs.values()), {}
    result: Any = graph.output_node().args[0]
    if not isinstance(result, Node):
        raise StageError(f"gives a {type(result).__name__}, not one tensor", "arch")
