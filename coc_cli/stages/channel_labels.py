"""Labels of channels, and what a run of a network's graph on them notes; what operations do: `channel_rules`.

Each output channel of each layer, and each element of a bare parameter, has a label. Tensors hold the labels of their
elements, 0 where these belong to no channel, for a batch of one. Operations that move elements run for real on them;
what computes says which labels belong together (`edges`), which stay (`kept`), and where labels are read (`events`).
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.fx import Node
from torch.fx.node import map_aggregate

from coc_cli.nets.graph import operation
from coc_cli.nets.names import is_edge, layer_at
from coc_cli.stages.label_tensors import compact, distinct, narrowed, varies

if TYPE_CHECKING:
    from coc_cli.nets.network import Network


NO_CHANNELS = "what no layer makes: padding, a constant or the image"


class Misfit(Exception):  # noqa: N818  (it says that widths do not fit, which is an answer)
    """The graph cannot run with these widths: the operation at fault, and why."""

    def __init__(self, place: str, why: str) -> None:
        self.place, self.why = place, why
        super().__init__(f"{place}: {why}")


@dataclass(frozen=True)
class Widths:
    """Sizes other than a network's own: output channels of layers by path, shapes of bare parameters by name."""

    rows: Mapping[str, int] = field(default_factory=dict)
    parameters: Mapping[str, tuple[int, ...]] = field(default_factory=dict)


@dataclass
class Labelling:
    """What a run on labels found; label n belongs to the producer whose range holds n."""

    producers: dict[str, range] = field(default_factory=dict)  # layers by path, bare parameters by name: their labels
    edges: list[Tensor] = field(default_factory=list)  # [2, n]: pairs that belong together
    kept: list[tuple[Tensor, str]] = field(default_factory=list)  # labels that stay, and why; "" needs no saying
    events: list[tuple[Tensor, int]] = field(default_factory=list)  # where labels are read: a hash of the place
    regrouped: list[tuple[Tensor, str]] = field(default_factory=list)  # labels whose numbers depend on each other
    divided: list[tuple[Tensor, int]] = field(default_factory=list)  # labels [C], of which each part has as many
    numbered: list[tuple[Tensor, str]] = field(default_factory=list)  # labels moved by numbers that may be literal
    columns: dict[str, Tensor] = field(default_factory=dict)  # by path of a layer or norm: labels [C] that it reads
    rows: dict[str, Tensor] = field(default_factory=dict)  # by path of a layer: labels [O] of its outputs
    parameters: dict[str, Tensor] = field(default_factory=dict)  # by name: labels in a bare parameter's shape
    positions: dict[str, int] = field(default_factory=dict)  # by path of a layer: how often each weight is used
    product_macs: int = 0  # of products of two tensors, of which no channel goes
    count: int = 1  # of labels, 0 among them


def _hash(*key: object) -> int:
    return int.from_bytes(blake2b(repr(key).encode(), digest_size=8).digest(), "little", signed=True)


class Notes:
    """What a walk over a graph notes, and how it looks at nodes."""

    def __init__(self, network: Network, widths: Widths) -> None:
        self.network, self.widths, self.found = network, widths, Labelling()
        self.names: dict[Node, str] = {}
        self.modules = dict(network.named_modules(remove_duplicate=False))

    def name_of(self, node: Node) -> str:
        """Return the name of a node's operation."""
        if node not in self.names:
            self.names[node] = operation(node, self.network)
        return self.names[node]

    def place(self, node: Node) -> str:
        """Return what a node does and where, for messages."""
        name = self.name_of(node)
        if node.op == "call_module":
            return f"{name} '{layer_at(str(node.target))}'"
        before = node
        while before.all_input_nodes:
            before = before.all_input_nodes[0]
            if before.op == "call_module" and not is_edge(str(before.target)):
                return f"{name} behind '{layer_at(str(before.target))}'"
        return name

    def module_of(self, node: Node) -> Any:
        """Return the module that a node calls."""
        return self.modules[str(node.target)]

    def attribute(self, name: str) -> Any:
        """Return labels of a bare parameter's own elements, 0 for a buffer, and whatever else has that name."""
        parent, _, last = name.rpartition(".")
        value = getattr(self.network.get_submodule(parent), last)
        if isinstance(value, nn.Parameter):
            if name not in self.found.parameters:
                shape = self.widths.parameters.get(name, tuple(value.shape))
                labels = self.fresh(name, int(torch.Size(shape).numel()))
                self.found.parameters[name] = compact(labels.view(shape))
            return self.found.parameters[name]
        return torch.zeros((), dtype=torch.long).expand(value.shape) if isinstance(value, Tensor) else value

    def fresh(self, producer: str, count: int) -> Tensor:
        """Return new labels for what a layer or a bare parameter makes, [count]."""
        start = self.found.count
        self.found.count += count
        self.found.producers[producer] = range(start, self.found.count)
        return torch.arange(start, self.found.count)

    def keep(self, labels: Tensor, why: str) -> None:
        """Note that channels stay."""
        found = distinct(labels)
        if len(found):
            self.found.kept.append((found, why))

    def tie(self, node: Node, one: Tensor, other: Tensor) -> None:
        """Note that labels belong together, position by position; one that meets 0 stays."""
        one, other = (part.flatten() for part in narrowed(one, other))
        nothing = (one == 0) != (other == 0)
        if nothing.any():
            met = torch.where(one == 0, other, one)[nothing]
            self.keep(met, f"{self.place(node)} joins them with {NO_CHANNELS}")
        pairs = torch.stack([one, other])[:, (one != other) & (one != 0) & (other != 0)]
        if pairs.numel():
            self.found.edges.append(pairs)

    def event(self, labels: Tensor, *key: object) -> None:
        """Note where labels are read."""
        self.found.events.append((labels.flatten(), _hash(*key)))

    def read(self, node: Node, labels: Tensor, dim: int) -> Tensor:
        """Note that the slices along a dimension are read as whole channels; return the label of each, [C]."""
        size = labels.shape[dim]
        matrix = narrowed(labels.movedim(dim, 0), but=0)[0].reshape(size, -1)
        first = matrix[:, 0]
        if matrix.shape[1] == 1:
            self.event(first, node.name)
            return first
        for position, column in enumerate(matrix.unbind(1)):
            self.event(column, node.name, position)
        self.tie(node, first[:, None].expand_as(matrix), matrix)
        return matrix.max(1).values

    def regroup(self, labels: Tensor, node: Node) -> None:
        """Note that it depends on the numbers of these channels which of them go where."""
        self.found.regrouped.append((distinct(labels), self.place(node)))

    def divide(self, node: Node, labels: Tensor, groups: int, role: str) -> None:
        """Note that channels [C] are read in groups of as many, which keep apart."""
        if len(labels) % groups:
            raise Misfit(self.place(node), f"needs a multiple of {groups}")
        for index, part in enumerate(labels.view(groups, -1)):
            self.event(part, node.name, role, index)
        self.found.divided.append((labels, groups))
        self.regroup(labels, node)

    def couple(self, node: Node, x: Tensor, dims: Sequence[int]) -> None:
        """Note that values along dimensions depend on each other: of one channel of many, or of one place in each."""
        varied = {dim for dim in range(x.dim()) if varies(x, dim)}
        if varied and varied <= set(dims):
            self.keep(x, f"{self.place(node)} takes them together")
        for dim in varied & set(dims):
            self.tie(node, x.narrow(dim, 0, 1).expand_as(x), x)

    def is_of_layers(self, labels: Tensor) -> bool:
        """Return whether labels are of channels of layers, not of bare parameters."""
        ranges = [self.found.producers[name] for name in self.found.parameters]
        return any(not any(label in labels_of for labels_of in ranges) for label in distinct(labels)[:1].tolist())

    def execute(self, node: Node, args: Any, kwargs: Any) -> Any:
        """Return what a node gives, run for real."""
        if node.op == "call_module":
            return self.module_of(node)(*args, **kwargs)
        return node.target(*args, **kwargs)  # type: ignore[operator]

    def dry(self, node: Node, *args: Any, **kwargs: Any) -> Any:
        """Return tensors of the shapes that a node gives, labelled 0."""

        def emptied(value: Any) -> Any:
            return torch.empty(value.shape, device="meta") if isinstance(value, Tensor) else value

        args, kwargs = map_aggregate(args, emptied), map_aggregate(kwargs, emptied)
        with torch.no_grad():
            if node.op == "call_module":
                module = self.module_of(node)
                if next(module.parameters(), None) is not None or next(module.buffers(), None) is not None:
                    module = copy.deepcopy(module).to("meta").eval()
                made = module(*args, **kwargs)
            else:
                made = self.execute(node, args, kwargs)
        nothing = torch.zeros((), dtype=torch.long)
        return map_aggregate(made, lambda x: nothing.expand(x.shape) if isinstance(x, Tensor) else x)


def tensors_in(value: Any) -> Iterator[Tensor]:
    """Yield the tensors in nested lists, tuples and dicts."""
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, (tuple, list)):
        for part in value:
            yield from tensors_in(part)
    elif isinstance(value, dict):
        yield from tensors_in(tuple(value.values()))
