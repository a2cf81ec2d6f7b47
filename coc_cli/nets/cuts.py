"""The graph of a network: tracing it, naming its operations, cutting it into segments that run one after the other."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn
from torch.fx import Graph, Node, Tracer
from torch.fx.proxy import TraceError

from coc_cli.errors import StageError

WEIGHTED = nn.modules.conv._ConvNd | nn.Linear  # noqa: SLF001  (the common base of convolutions has no public name)


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
    """Trace `root.forward`; raises `StageError` that names the module in which it cannot be done."""
    tracer = LeafTracer()
    try:
        graph = tracer.trace(root)
    except (TraceError, TypeError, ValueError, AssertionError) as error:
        inside = next(reversed(tracer.module_stack.values()), ("", type(root)))[0] or "the network's forward"
        raise StageError(f"cannot be traced: in {inside}: {str(error).splitlines()[0]}", "arch") from error
    for node in graph.nodes:
        if node.op == "call_method" and node.target == "view":
            node.target = "reshape"  # the same, but for tensors that lie channels last
    return graph


def operation(node: Node, root: nn.Module) -> str:
    """Give one lower-case name for what a node does, however it is written: 'conv2d', 'relu', 'add', 'flatten'."""
    if node.op == "call_module":
        return type(root.get_submodule(str(node.target))).__name__.lower()
    if node.op == "call_function":
        return getattr(node.target, "__name__", str(node.target)).lower().rstrip("_")
    return str(node.target).lower().rstrip("_") if node.op == "call_method" else node.op


@dataclass(frozen=True)
class Segment:
    """A stretch of the network: `run(root, *inputs)` gives the tensors of `outputs`, in order."""

    run: Callable[..., tuple[Tensor, ...]]
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    nodes: tuple[str, ...]


def _compiled(graph: Graph) -> Callable[..., tuple[Tensor, ...]]:
    code = graph.python_code(root_module="self")
    namespace: dict[str, Any] = dict(code.globals)
    exec(compile(code.src, "<segment>", "exec"), namespace)  # noqa: S102  (fx's own generated code)
    run: Callable[..., tuple[Tensor, ...]] = namespace["forward"]
    return run


def _segment(nodes: Sequence[Node], inputs: Sequence[Node], outputs: Sequence[Node]) -> Segment:
    graph = Graph()
    copies = {node: graph.placeholder(node.name) for node in inputs}
    for node in nodes:
        copies[node] = graph.node_copy(node, lambda old: copies[old])
    graph.output(tuple(copies[node] for node in outputs))
    names = tuple(tuple(node.name for node in group) for group in (inputs, outputs, nodes))
    return Segment(_compiled(graph), *names)


def node_named(graph: Graph, name: str) -> Node | None:
    """Give the node of that name, or None."""
    return next((node for node in graph.nodes if node.name == name), None)


def splice(graph: Graph, source: str, head: nn.Module) -> None:
    """Trace a head and put it behind the node named `source`, in place; its output becomes one more of the graph's.

    Outputs stay in the order of the calls, the network's own is last. Raises `StageError` if there is no such node.
    """
    before = node_named(graph, source)
    if before is None:
        raise StageError(f"no exit can be at '{source}': the network has no such place", "exits")
    copies: dict[Node, Node] = {}
    at = before
    for node in trace(head).nodes:
        if node.op == "placeholder":
            copies[node] = before
        elif node.op == "output":
            output = graph.output_node()
            *inner, final = output.args[0] if isinstance(output.args[0], tuple) else (output.args[0],)
            output.args = ((*inner, copies[node.args[0]], final),)
        else:
            with graph.inserting_after(at):
                at = copies[node] = graph.node_copy(node, lambda old: copies[old])


def segments(graph: Graph, *, taps: Sequence[str] = ()) -> list[Segment]:
    """Cut a graph behind each of its outputs; what a segment gives is its output, then all tensors still needed.

    The last segment gives the network's own output, then the tensors of the nodes named in `taps`.
    """
    inputs = [node for node in graph.nodes if node.op == "placeholder"]
    body = [node for node in graph.nodes if node.op not in ("placeholder", "output")]
    position = {node: index for index, node in enumerate(body)}
    by_name = {node.name: node for node in body}
    outputs: Any = graph.output_node().args[0]
    *inner, final = outputs if isinstance(outputs, tuple) else (outputs,)
    last_use = {
        node: max([position[user] for user in node.users if user in position], default=-1) for node in (*inputs, *body)
    }
    tapped = [by_name[name] for name in taps]
    last_use.update(dict.fromkeys(tapped, len(body)))
    made: list[Segment] = []
    start, live = 0, inputs
    for end, output in sorted((position[node], node) for node in inner):
        stretch = body[start : end + 1]
        passed = [node for node in (*live, *stretch) if last_use[node] > end]
        made.append(_segment(stretch, live, [output, *passed]))
        start, live = end + 1, passed
    made.append(_segment(body[start:], live, [final, *tapped]))
    return made
