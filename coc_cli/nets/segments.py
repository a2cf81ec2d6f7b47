"""Cutting a graph into segments that run one after the other, and putting heads into it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn
from torch.fx import Graph, Node

from coc_cli.errors import StageError
from coc_cli.nets.graph import node_named
from coc_cli.nets.names import head_part
from coc_cli.nets.running import Program


@dataclass(frozen=True)
class Segment:
    """A stretch of the network: `run(root, *inputs)` returns the tensors of `outputs`, in order."""

    run: Callable[..., tuple[Tensor, ...]]
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    nodes: tuple[str, ...]


def _above(node: Node) -> set[Node]:
    """Return a node and all nodes that it depends on."""
    ancestors, pending = {node}, [node]
    while pending:
        new = set(pending.pop().all_input_nodes) - ancestors
        ancestors |= new
        pending += new
    return ancestors


def split_heads(graph: Graph) -> tuple[list[Segment], list[Segment]]:
    """Cut a graph as `segments` does, but with heads as segments of their own; return the backbone's, then the heads'.

    A segment of the backbone returns the tensors that any later segment or its own head reads, the last one the
    network's output; a head returns its output.
    """
    live = [node for node in graph.nodes if node.op == "placeholder"]
    outputs: Any = graph.output_node().args[0]
    *inner, final = outputs if isinstance(outputs, tuple) else (outputs,)
    spine = _above(final)
    body = [node for node in graph.nodes if node.op not in ("placeholder", "output")]
    position = {node: index for index, node in enumerate(body)}
    backbone, heads, start = [], [], 0
    for end, output in sorted((position[node], node) for node in inner):
        head = [node for node in body if node in _above(output) - spine]
        read = {node for inside in head for node in inside.all_input_nodes} - set(head)
        stretch = [node for node in body[start : end + 1] if node in spine]
        later = [node for node in (*live, *stretch) if any(position.get(user, -1) > end for user in node.users)]
        own = [node for node in stretch if node in read and node not in later]
        backbone.append(_segment(stretch, live, [*later, *own]))
        heads.append(_segment(head, [node for node in (*live, *stretch) if node in read], [output]))
        start, live = end + 1, later
    backbone.append(_segment([node for node in body[start:] if node in spine], live, [final]))
    return backbone, heads


def _segment(nodes: Sequence[Node], inputs: Sequence[Node], outputs: Sequence[Node]) -> Segment:
    names = tuple(tuple(node.name for node in group) for group in (inputs, outputs, nodes))
    return Segment(Program(nodes, inputs, outputs), *names)


def splice(graph: Graph, source: str, index: int, head: nn.Module) -> None:
    """Insert the parts of an exit's head, one after the other, behind the node named `source`, in place.

    Its output is added to the graph's: outputs stay in the order of the calls, the network's own is last. Raises
    `StageError` if there is no such node.
    """
    at = node_named(graph, source)
    if at is None:
        raise StageError(f"no exit can be at '{source}': the network has no such place", "exits")
    for name, _ in head.named_children():
        target = head_part(index, name)
        with graph.inserting_after(at):
            at = graph.create_node("call_module", target, (at,), name=target.replace(".", "_"))
        at.meta["scope"] = target.rpartition(".")[0]
    output = graph.output_node()
    *inner, final = output.args[0] if isinstance(output.args[0], tuple) else (output.args[0],)
    output.args = ((*inner, at, final),)


def segments(graph: Graph, *, taps: Sequence[str] = ()) -> list[Segment]:
    """Cut a graph behind each of its outputs; a segment returns its output, then all tensors that are still needed.

    The last segment returns the network's own output, then the tensors of the nodes named in `taps`.
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
    # x -> a -> b -> c with heads on a and b, and a shortcut from a to c: the first segment takes x and returns
    # (head of a, a), the second takes a and returns (head of b, a, b): `a` stays alive up to its last use. What is
    # tapped is used behind the end, so it is passed on by all segments after its own.
    tapped = [by_name[name] for name in taps]
    last_use.update(dict.fromkeys(tapped, len(body)))
    stretches: list[Segment] = []
    start, live = 0, inputs
    for end, output in sorted((position[node], node) for node in inner):
        stretch = body[start : end + 1]
        passed = [node for node in (*live, *stretch) if last_use[node] > end]
        stretches.append(_segment(stretch, live, [output, *passed]))
        start, live = end + 1, passed
    stretches.append(_segment(body[start:], live, [final, *tapped]))
    return stretches
