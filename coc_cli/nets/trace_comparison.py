"""Two traces of one network: what differs between training and evaluation, or between batches of two sizes."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from torch import Tensor
from torch.fx import Graph, Node

from coc_cli.errors import StageError
from coc_cli.nets.operations import ATTENTION, OPERATIONS
from coc_cli.nets.running import function_of, operation_of
from coc_cli.nets.traced_graph import TRAINING

Line = tuple[str, int]  # a file and a line of it


class TraceError(StageError):
    """What is wrong with a network, and the line of the user's code that it is about, if that is known."""

    def __init__(self, what: str, line: Line | None = None) -> None:
        super().__init__(what, "arch")
        self.line = line


@dataclass
class Traced:
    """What a network does: nodes, the modules that they call, and the tensors that they read."""

    graph: Graph = field(default_factory=Graph)
    modules: dict[str, tuple[str, dict[str, Any]]] = field(default_factory=dict)  # by path: kind and arguments
    sources: dict[str, str] = field(default_factory=dict)  # tensors of made modules, by the names that they had
    tensors: dict[str, Tensor] = field(default_factory=dict)  # bare parameters, buffers and constants, by path
    prefix: str = ""  # of all paths in the graph


def erase_unused(graph: Graph) -> None:
    """Erase the nodes that the output does not depend on."""
    for node in reversed(list(graph.nodes)):
        if not node.users and node.op not in ("output", "placeholder"):
            graph.erase_node(node)


_DROPPED = 4  # the place of the probability among the arguments of attention


def _is_dropout(node: Node, traced: Traced) -> bool:
    """Return whether a node changes its input while training only."""
    if node.op == "call_module":
        return "Dropout" in traced.modules[str(node.target).removeprefix(traced.prefix)][0]
    return node.op == "call_function" and _flag_of(node) is not None and operation_of(node) != ATTENTION


def _flag_of(node: Node) -> int | None:
    """Return the position of a function's training flag among its arguments; None if it has none."""
    names = list(OPERATIONS[operation_of(node)].parameters.parameters)
    return names.index("training") if "training" in names else None


def _place(node: Node) -> str:
    return str(node.meta.get("scope", "")).removeprefix("backbone").lstrip(".") or "the network's forward"


def _fault(node: Node, what: str) -> TraceError:
    return TraceError(f"cannot be traced: in {_place(node)}: {what}", node.meta.get("line"))


def _differs(node: Node) -> TraceError:
    return _fault(node, "it does another thing in training than in evaluation; only dropout may differ")


def _equal(one: Any, other: Any, partner: dict[Node, Node]) -> bool:
    """Return whether two arguments are the same, nodes by their partners."""
    if isinstance(one, _Batch):
        return True
    if isinstance(one, Node) or isinstance(other, Node):
        return isinstance(one, Node) and partner.get(one) is other
    if isinstance(one, tuple) and isinstance(other, tuple):
        return len(one) == len(other) and all(_equal(a, b, partner) for a, b in zip(one, other, strict=True))
    if isinstance(one, slice) and isinstance(other, slice):
        parts = ("start", "stop", "step")
        return all(_equal(getattr(one, part), getattr(other, part), partner) for part in parts)
    return type(one) is type(other) and bool(one == other)


_PLAIN_NUMBER = "uses the number of images as a plain number; write x.size(0) or -1 where it is needed"
_OTHER_BATCH = "it does another thing for one image than for several; let it do the same for any number"


class _Batch:
    """Stands in arguments where the number of images stood as a plain number."""


def _with_batch(one: Any, other: Any, counts: tuple[int, int]) -> Any:
    """Return an argument of one trace with marks where it has the number of images and the other has its own."""
    if isinstance(one, tuple) and isinstance(other, tuple) and len(one) == len(other):
        return tuple(_with_batch(a, b, counts) for a, b in zip(one, other, strict=True))
    return _Batch() if (type(one), one, other) == (int, *counts) else one


def _filled_in(arg: Any, marked: Any, node: Node) -> Any:
    """Return an argument with a node where there is a mark."""
    if isinstance(marked, tuple):
        return tuple(_filled_in(a, b, node) for a, b in zip(arg, marked, strict=False))
    return node if isinstance(marked, _Batch) else arg


def same_for_all_batches(one: Traced, other: Traced, counts: tuple[int, int]) -> dict[Node, Any]:
    """Return the arguments of nodes that take the number of images as a plain number (as from `len(x)`), marked there.

    Raises `StageError` if traces of two numbers of images differ otherwise.
    """
    partner: dict[Node, Node] = {}
    marked: dict[Node, Any] = {}
    nodes = list(one.graph.nodes), list(other.graph.nodes)
    for a, b in zip(*nodes, strict=False):
        partner[a] = b
        constant = one.tensors.get(str(a.target)) if a.op == "get_attr" else None
        is_same = (a.op, a.target) == (b.op, b.target) and _equal(a.args, b.args, partner)
        if not is_same and (a.op, a.target) == (b.op, b.target):
            marked[a] = _with_batch(a.args, b.args, counts)
            is_same = _equal(marked[a], b.args, partner)
        if constant is not None and constant.shape != other.tensors[str(a.target)].shape:
            is_same = False
        if not is_same:
            same_call = (a.op, a.target) == (b.op, b.target)
            raise _fault(a, _PLAIN_NUMBER if same_call else _OTHER_BATCH)
    if len(nodes[0]) != len(nodes[1]):
        raise _fault(nodes[0][-1], _OTHER_BATCH)
    return marked


def merged(training: Traced, evaluation: Traced, marked: dict[Node, Any]) -> Traced:
    """Return the trace of training with a look-up of the flag where only evaluation leaves a dropout out.

    Arguments of nodes of the evaluation that are `marked` take the number of images from the input.
    """
    partner: dict[Node, Node] = {}
    theirs = list(evaluation.graph.nodes)
    at = 0
    for node in list(training.graph.nodes):
        other = theirs[at] if at < len(theirs) else None
        is_same = other is not None and (node.op, node.target) == (other.op, other.target)
        if other is not None and is_same and _equal(_without_flag(node), _without_flag(other), partner):
            partner[node] = other
            at += 1
            if other in marked:
                _look_at_input(training.graph, node, marked[other])
            if (place := _flag(node)) is not None and _is_active(node, place) != _is_active(other, place):
                if _is_active(other, place):
                    raise _differs(node)
                _look_up(training.graph, node, place, training.prefix)
            continue
        if not _is_dropout(node, training):
            raise _differs(node)
        partner[node] = partner[node.args[0]]  # type: ignore[index]
        if (place := _flag(node)) is not None:
            _look_up(training.graph, node, place, training.prefix)
    if at < len(theirs):
        raise _differs(theirs[at])
    return training


def _flag(node: Node) -> int | None:
    return _flag_of(node) if node.op == "call_function" else None


def _is_active(node: Node, place: int) -> bool:
    """Return whether a node drops something: its flag is set, or what the flag is for."""
    if operation_of(node) == ATTENTION:
        return len(node.args) > _DROPPED and bool(node.args[_DROPPED] != 0)
    return bool(node.args[place]) if place < len(node.args) else True


def _without_flag(node: Node) -> tuple[Any, ...]:
    place = _flag(node)
    if place is None:
        return tuple(node.args)
    args = _filled_up(node, place)
    return (*args[:_DROPPED], *args[_DROPPED + 1 :]) if operation_of(node) == ATTENTION else args


def _filled_up(node: Node, place: int) -> tuple[Any, ...]:
    """Return the arguments before a place, defaults included."""
    parameters = OPERATIONS[operation_of(node)].parameters.parameters.values()
    defaults = [parameter.default for parameter in parameters]
    return (*node.args[:place], *defaults[len(node.args) : place])


def _look_at_input(graph: Graph, node: Node, marked: Any) -> None:
    """Let a node take the number of images from the input where there is a mark."""
    images = next(node for node in graph.nodes if node.op == "placeholder")
    with graph.inserting_before(node):
        size = graph.create_node("call_function", function_of("size"), (images, 0))
    size.meta.update(node.meta)
    node.args = _filled_in(node.args, marked, size)


def _look_up(graph: Graph, node: Node, place: int, prefix: str) -> None:
    """Let a node look up the training flag when it runs."""
    with graph.inserting_before(node):
        flag = graph.create_node("get_attr", f"{prefix}{TRAINING}")
    flag.meta["scope"] = node.meta["scope"]
    node.args = (*_filled_up(node, place), flag)
