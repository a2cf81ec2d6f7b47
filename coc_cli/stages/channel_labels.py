"""Which channels meet where: one run of a network's graph on labels instead of numbers.

Each output channel of each layer, and each element of a bare parameter, has a label. Tensors hold the labels of their
elements, 0 where these belong to no channel, for a batch of one. Operations that move elements run for real on them;
what computes says which labels belong together (`edges`), which stay (`kept`), and where labels are read (`events`).
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from hashlib import blake2b
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.fx import Graph, Node
from torch.fx.node import map_aggregate, map_arg

from coc_cli.nets.graph import WEIGHTED, is_number, operation
from coc_cli.nets.layers import numbers_of
from coc_cli.nets.names import is_head, layer_at
from coc_cli.stages import channel_operations as kinds
from coc_cli.stages.label_tensors import compact, distinct, joined, keeps_dimensions, narrowed, padded, varies

if TYPE_CHECKING:
    from coc_cli.nets.network import Network


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
    positions: dict[str, int] = field(default_factory=dict)  # by path of a layer: outputs of each of its channels
    count: int = 1  # of labels, 0 among them


def labelled(network: Network, widths: Widths | None = None) -> Labelling:
    """Run a network on labels.

    Args:
        network: On any device, stays as it is.
        widths: Sizes other than its own.

    Returns:
        What was found.

    Raises:
        Misfit: If it cannot run with these widths.
    """
    image = torch.zeros((), dtype=torch.long).expand(1, *network.spec.input_shape)
    run = _Run(network, network.graph, (image,), widths or Widths(), Labelling())
    for tensor in _tensors(run.result):
        run.keep(tensor, "")
    return run.found


def _hash(*key: object) -> int:
    return int.from_bytes(blake2b(repr(key).encode(), digest_size=8).digest(), "little", signed=True)


_OWN = {"weight", "bias", "weight_scale"}


def _map_size(conv: Any, x: Tensor) -> tuple[int, ...]:
    """Return the size of the maps that a convolution makes of those of [1, C, ...]."""
    kind = next(base for base in type(conv).__mro__ if base.__module__ == "torch.nn.modules.conv")
    how = (conv.kernel_size, conv.stride, conv.padding, getattr(conv, "output_padding", 0), conv.dilation)
    return _made_size(kind, *how, conv.padding_mode, tuple(x.shape[2:]))


@lru_cache(maxsize=4096)
def _made_size(
    kind: Any, kernel: Any, stride: Any, padding: Any, beside: Any, dilation: Any, mode: str, size: tuple[int, ...]
) -> tuple[int, ...]:
    further = {"output_padding": beside} if issubclass(kind, nn.modules.conv._ConvTransposeNd) else {}  # noqa: SLF001
    conv = kind(1, 1, kernel, stride, padding, dilation=dilation, padding_mode=mode, device="meta", **further)
    with torch.no_grad():
        return tuple(conv(torch.empty(1, 1, *size, device="meta")).shape[2:])


class _Run:
    """One walk over a graph; `found` is what it found, `result` the labels that it gives."""

    def __init__(
        self,
        root: nn.Module,
        graph: Graph,
        inputs: Sequence[Any],
        widths: Widths,
        found: Labelling,
        within: tuple[str, str] = ("", ""),
    ) -> None:
        self.root, self.widths, self.found = root, widths, found
        self.prefix, self.where = within  # of the names of the root's parts; what to call it in messages
        self.result: Any = None
        self.values: dict[Node, Any] = {}
        self.names: dict[Node, str] = {}
        self.modules = dict(root.named_modules(remove_duplicate=False))
        self.inputs = iter(inputs)
        self.kind = {name: handle for names, handle in self._handlers() for name in names}
        node: Any = None
        try:
            for node in graph.nodes:
                self.values[node] = self._value(node)
        except (RuntimeError, IndexError, ValueError, TypeError, ZeroDivisionError, AssertionError) as error:
            first = (str(error).splitlines() or [type(error).__name__])[0]
            raise Misfit(self.place(node), first) from error

    def _handlers(self) -> Iterator[tuple[frozenset[str], Callable[..., Any]]]:
        yield kinds.ELEMENTWISE, self._elementwise
        yield kinds.MOVING, self._move
        yield kinds.JOINING, self._join
        yield kinds.SPATIAL, self._spatial
        yield kinds.REDUCING, self._reduce
        yield kinds.MIXING, self._mix
        yield kinds.CONTRACTING, self._contract
        yield kinds.CREATING, self._create
        yield kinds.PADDING, self._pad
        yield kinds.GATED, self._gate
        yield kinds.BATCH_NORMS | kinds.INSTANCE_NORMS, self._norm
        yield kinds.GROUP_NORMS, self._group_norm
        yield kinds.LAYER_NORMS, self._layer_norm

    def _name(self, node: Node) -> str:
        if node not in self.names:
            self.names[node] = operation(node, self.root)
        return self.names[node]

    def place(self, node: Node) -> str:
        """Return what a node does and where, for messages."""
        if self.where:
            return self.where
        name = self._name(node)
        if node.op == "call_module":
            return f"{name} '{layer_at(str(node.target))}'"
        before = node
        while before.all_input_nodes:
            before = before.all_input_nodes[0]
            if before.op == "call_module":
                return f"{name} behind '{layer_at(str(before.target))}'"
        return name

    def _value(self, node: Node) -> Any:
        if node.op == "placeholder":
            return next(self.inputs, *node.args)
        if node.op == "get_attr":
            return self._attribute(str(node.target))
        args: Any = map_arg(node.args, self.values.__getitem__)
        kwargs = map_arg(node.kwargs, self.values.__getitem__)
        if node.op == "output":
            self.result = args[0]
            return None
        if is_number(node) or next(_tensors((args, kwargs)), None) is None:
            return self._execute(node, args, kwargs) if is_number(node) else self._dry(node, *args, **kwargs)
        if node.op == "call_module" and isinstance(self._module(node), WEIGHTED):
            return self._layer(node, *args)
        handle = self.kind.get(self._name(node), self._unknown)
        return map_aggregate(handle(node, *args, **kwargs), lambda x: compact(x) if isinstance(x, Tensor) else x)

    def _module(self, node: Node) -> Any:
        return self.modules[str(node.target)]

    def _path(self, node: Node) -> str:
        return f"{self.prefix}{node.target}"

    def _attribute(self, target: str) -> Any:
        parent, _, last = target.rpartition(".")
        value, name = getattr(self.root.get_submodule(parent), last), f"{self.prefix}{target}"
        if isinstance(value, nn.Parameter):
            if name not in self.found.parameters:
                shape = self.widths.parameters.get(name, tuple(value.shape))
                labels = self._fresh(name, int(torch.Size(shape).numel()))
                self.found.parameters[name] = compact(labels.view(shape))
            return self.found.parameters[name]
        return torch.zeros((), dtype=torch.long).expand(value.shape) if isinstance(value, Tensor) else value

    def _fresh(self, producer: str, count: int) -> Tensor:
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
            self.keep(met, f"{self.place(node)} joins them with values that are no channel's")
        pairs = torch.stack([one, other])[:, (one != other) & (one != 0) & (other != 0)]
        if pairs.numel():
            self.found.edges.append(pairs)

    def event(self, labels: Tensor, *key: object) -> None:
        """Note where labels are read."""
        self.found.events.append((labels.flatten(), _hash(self.prefix, *key)))

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
        self.found.regrouped.append((distinct(labels), self.place(node)))

    def _layer(self, node: Node, x: Tensor) -> Tensor:
        module, path = self._module(node), self._path(node)
        is_conv = not isinstance(module, nn.Linear)
        read = self.found.columns[path] = self.read(node, x, 1 if is_conv else -1)
        groups = module.groups if is_conv else 1
        if is_conv and 1 < groups == module.in_channels:  # depthwise: each channel by itself
            rows = read.repeat_interleave(module.out_channels // groups)
            self.event(read, node.name, "depthwise")
        else:
            rows = self._fresh(
                path, self.widths.rows.get(path, module.out_channels if is_conv else module.out_features)
            )
        if 1 < groups < module.in_channels if is_conv else False:
            for labels, role in ((read, "in"), (rows, "out")):
                self._divide(node, labels, groups, role)
        if numbers_of(module) is None or set(module._parameters) - _OWN:  # noqa: SLF001
            self.keep(torch.cat([read, rows]), f"{self.place(node)} has no rule to be made again")
        if is_head(layer_at(self._path(node))):
            self.keep(rows, "")
        self.found.rows[path] = rows
        shape = (1, len(rows), *_map_size(module, x)) if is_conv else (*x.shape[:-1], len(rows))
        result = rows.view(1, -1, *[1] * (len(shape) - 2)).expand(shape) if is_conv else rows.expand(shape)
        self.found.positions[path] = result.numel() // len(rows)
        return result

    def _execute(self, node: Node, args: Any, kwargs: Any) -> Any:
        if node.op == "call_module":
            return self._module(node)(*args, **kwargs)
        return node.target(*args, **kwargs)  # type: ignore[operator]

    def _dry(self, node: Node, *args: Any, **kwargs: Any) -> Any:
        """Return tensors of the shapes that a node gives, labelled 0."""

        def emptied(value: Any) -> Any:
            return torch.empty(value.shape, device="meta") if isinstance(value, Tensor) else value

        args, kwargs = map_aggregate(args, emptied), map_aggregate(kwargs, emptied)
        with torch.no_grad():
            if node.op == "call_module":
                module = self._module(node)
                if next(module.parameters(), None) is not None or next(module.buffers(), None) is not None:
                    module = copy.deepcopy(module).to("meta").eval()
                made = module(*args, **kwargs)
            else:
                made = self._execute(node, args, kwargs)
        nothing = torch.zeros((), dtype=torch.long)
        return map_aggregate(made, lambda x: nothing.expand(x.shape) if isinstance(x, Tensor) else x)

    def _unknown(self, node: Node, *args: Any, **kwargs: Any) -> Any:
        for tensor in _tensors((args, kwargs)):
            self.keep(tensor, f"{self.place(node)} is not known to keep channels apart")
        return self._dry(node, *args, **kwargs)

    def _contract(self, node: Node, *args: Any, **kwargs: Any) -> Any:
        for tensor in _tensors((args, kwargs)):
            self.keep(tensor, f"{self.place(node)} takes them together")
        return self._dry(node, *args, **kwargs)

    def _create(self, node: Node, *args: Any, **kwargs: Any) -> Any:
        return self._dry(node, *args, **kwargs)

    def _elementwise(self, node: Node, *args: Any, **kwargs: Any) -> Tensor:
        tensors = list(_tensors((args, kwargs)))
        if len(tensors) == 1:
            return tensors[0]
        shape = torch.broadcast_shapes(*[tensor.shape for tensor in tensors])
        spread = [tensor.expand(shape) for tensor in tensors]
        varied = [{dim for dim in range(len(shape)) if varies(tensor, dim)} for tensor in spread]
        by_layers = [dims if self._is_of_layers(x) else set() for dims, x in zip(varied, tensors, strict=True)]
        own = []
        for at, (tensor, full) in enumerate(zip(tensors, spread, strict=True)):
            sizes = (*[1] * (len(shape) - tensor.dim()), *tensor.shape)
            missing = {dim for dim, size in enumerate(sizes) if size < shape[dim]}
            others = set().union(*varied[:at], *varied[at + 1 :]) - varied[at]
            repeated = set().union(*by_layers[:at], *by_layers[at + 1 :]) - varied[at]
            if others & missing or (repeated and bool((narrowed(full)[0] != 0).all())):
                # one number for many channels: it belongs to none of them
                self.keep(tensor, f"{self.place(node)} spreads them over other channels")
            else:
                own.append(full)
        if not own:
            return torch.zeros((), dtype=torch.long).expand(shape)
        result = own[0]
        for full in own[1:]:
            self.tie(node, result, full)
            one, other = narrowed(result, full)
            result = torch.where(one == 0, other, one).expand(shape)
        return result

    def _is_of_layers(self, labels: Tensor) -> bool:
        """Return whether labels are of channels of layers, not of bare parameters."""
        ranges = [self.found.producers[name] for name in self.found.parameters]
        return any(not any(label in labels_of for labels_of in ranges) for label in distinct(labels)[:1].tolist())

    def _move(self, node: Node, *args: Any, **kwargs: Any) -> Any:
        x = args[0]
        if not isinstance(x, Tensor):  # of several tensors, or an item of a list of them
            return self._execute(node, args, kwargs)
        if self._name(node) == "getitem" and next(_tensors(args[1:]), None) is not None:
            return self._unknown(node, *args, **kwargs)
        result = self._execute(node, args, kwargs)
        name = self._name(node)
        if name in kinds.NUMBERED:
            if self._is_regrouped(name, x, result):
                self.regroup(x, node)
            else:
                self.found.numbered.append((distinct(x), self.place(node)))
        return result

    def _is_regrouped(self, name: str, x: Tensor, result: Any) -> bool:
        """Return whether it depends on the numbers of channels which of them go where."""
        before = distinct(x)
        if len(before) < 2:  # noqa: PLR2004
            return False
        if name in kinds.SHUFFLING:
            return x.shape != result.shape or bool((x != result).any())
        if name in kinds.RESHAPING:
            return not keeps_dimensions(x, result.shape)
        return any(len(distinct(part)) < len(before) for part in _tensors(result))

    def _join(self, node: Node, tensors: Sequence[Tensor], *args: Any, **kwargs: Any) -> Tensor:
        dim = args[0] if args else kwargs.get("dim", kwargs.get("axis", 0))
        if self._name(node) == "stack":
            return self._execute(node, (tensors, *args), kwargs)  # type: ignore[no-any-return]
        return joined(list(tensors), dim)

    def _spatial(self, node: Node, x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        name = self._name(node)
        shape = self._dry(node, x, *args, **kwargs)
        size = next((int(digit) for digit in "123" if f"{digit}d" in name), x.dim() - 2)
        lead = tuple(x.shape[: x.dim() - size])
        if not isinstance(shape, Tensor) or shape.shape[: len(lead)] != lead:
            return self._unknown(node, x, *args, **kwargs)  # type: ignore[no-any-return]
        if any(varies(x, dim) for dim in range(len(lead), x.dim())):
            labels = self.read(node, x.reshape(-1, *x.shape[len(lead) :]), 0).view(lead)
        else:
            labels = _first(x, size)
        return (
            labels[(..., *[None] * size)].expand(shape.shape) if shape.dim() == x.dim() else labels.expand(shape.shape)
        )

    def _reduce(self, node: Node, x: Tensor, *args: Any, **kwargs: Any) -> Any:
        name = self._name(node)
        given = kwargs.get(
            "dim", kwargs.get("axis", (args[1:2] or [None])[0] if name == "norm" else (args or [None])[0])
        )
        dims = range(x.dim()) if given is None else [given] if isinstance(given, int) else given
        reduced = sorted({dim % x.dim() for dim in dims}, reverse=True)
        made = self._dry(node, x, *args, **kwargs)
        if not isinstance(made, Tensor):
            return self._unknown(node, x, *args, **kwargs)
        if name == "sum" and {dim for dim in range(x.dim()) if varies(x, dim)} <= set(reduced):
            self.read(node, x.reshape(-1, 1), 0)  # one that is 0 can go
            return made
        self._couple(node, x, reduced)
        keeps = made.dim() == x.dim()
        for dim in reduced:
            x = x.narrow(dim, 0, 1) if keeps else x.select(dim, 0)
        return x

    def _mix(self, node: Node, x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        if self._name(node) == "prelu" and self._module(node).num_parameters == 1:
            return x
        given = kwargs.get(
            "dim", args[0] if args else getattr(self._module(node), "dim", None) if node.op == "call_module" else None
        )
        dims = [given] if isinstance(given, int) and not isinstance(given, bool) else range(x.dim())
        self._couple(node, x, [dim % x.dim() for dim in dims])
        return x

    def _couple(self, node: Node, x: Tensor, dims: Sequence[int]) -> None:
        """Note that values along dimensions depend on each other: of one channel of many, or of one place in each."""
        varied = {dim for dim in range(x.dim()) if varies(x, dim)}
        if varied <= set(dims):
            self.keep(x, f"{self.place(node)} takes them together")
        for dim in varied & set(dims):
            self.tie(node, x.narrow(dim, 0, 1).expand_as(x), x)

    def _gate(self, node: Node, x: Tensor, dim: int = -1) -> Tensor:
        dim = self._module(node).dim if node.op == "call_module" else dim
        one, other = (compact(half) for half in x.chunk(2, dim))
        if varies(x, dim):
            self.regroup(x, node)
        return self._elementwise(node, one, other)

    def _pad(self, _: Node, x: Tensor, pads: Sequence[int], *__: Any, **___: Any) -> Tensor:
        return padded(x, pads)

    def _normed(self, node: Node, x: Tensor, dim: int) -> Tensor:
        """Note what a norm reads, [C]; one that is called again has the same channels to norm."""
        read, path = self.read(node, x, dim), self._path(node)
        self.tie(node, self.found.columns.get(path, read), read)
        self.found.columns[path] = read
        return read

    def _norm(self, node: Node, x: Tensor) -> Tensor:
        self._normed(node, x, 1)
        if numbers_of(self._module(node)) is None:
            self.keep(x, f"{self.place(node)} has no rule to be made again")
        return x

    def _group_norm(self, node: Node, x: Tensor) -> Tensor:
        read = self._normed(node, x, 1)
        groups = self._module(node).num_groups
        if groups > 1:
            self._divide(node, read, groups, "normed")
        return x

    def _divide(self, node: Node, labels: Tensor, groups: int, role: str) -> None:
        """Note that channels [C] are read in groups of as many, which keep apart."""
        if len(labels) % groups:
            raise Misfit(self.place(node), f"needs a multiple of {groups}")
        for index, part in enumerate(labels.view(groups, -1)):
            self.event(part, node.name, role, index)
        self.found.divided.append((labels, groups))
        self.regroup(labels, node)

    def _layer_norm(self, node: Node, x: Tensor) -> Tensor:
        if numbers_of(self._module(node)) is None:
            self.keep(x, f"{self.place(node)} takes them together")
            return x
        self._normed(node, x, -1)
        return x


def _first(labels: Tensor, dimensions: int) -> Tensor:
    """Return the labels at 0 of so many last dimensions."""
    for _ in range(dimensions):
        labels = labels.select(-1, 0)
    return labels


def _tensors(value: Any) -> Iterator[Tensor]:
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, (tuple, list)):
        for part in value:
            yield from _tensors(part)
    elif isinstance(value, dict):
        yield from _tensors(tuple(value.values()))
