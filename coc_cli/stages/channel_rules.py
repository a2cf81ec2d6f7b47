"""What each operation does to the labels of channels: a run of a network's graph on labels.

Operations that move elements run for real on labels; those that compute note which belong together and which stay. The
sets of names stand in `channel_operations`, what is noted in `channel_labels`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.fx import Node
from torch.fx.node import map_aggregate, map_arg

from coc_cli.errors import first_line
from coc_cli.nets.graph import WEIGHTED, is_number
from coc_cli.nets.layers import numbers_of
from coc_cli.nets.macs import PRODUCTS
from coc_cli.nets.names import is_head, layer_at
from coc_cli.stages import channel_operations as kinds
from coc_cli.stages.channel_labels import Labelling, Misfit, Notes, Widths, tensors_in
from coc_cli.stages.label_tensors import compact, distinct, joined, keeps_dimensions, narrowed, padded, varies

if TYPE_CHECKING:
    from coc_cli.nets.network import Network


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
    return _Run(network, widths or Widths()).found


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


class _Run(Notes):
    """One walk over a graph."""

    def __init__(self, network: Network, widths: Widths) -> None:
        super().__init__(network, widths)
        self.values: dict[Node, Any] = {}
        self.kind = {name: handle for names, handle in self._handlers() for name in names}
        node: Any = None
        try:
            for node in network.graph.nodes:
                self.values[node] = self._value(node)
        except (RuntimeError, IndexError, ValueError, TypeError, ZeroDivisionError, AssertionError) as error:
            first = first_line(error)
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

    def _value(self, node: Node) -> Any:
        if node.op == "placeholder":
            return torch.zeros((), dtype=torch.long).expand(1, *self.network.spec.input_shape)
        if node.op == "get_attr":
            return self.attribute(str(node.target))
        args: Any = map_arg(node.args, self.values.__getitem__)
        kwargs = map_arg(node.kwargs, self.values.__getitem__)
        if node.op == "output":
            for tensor in tensors_in(args):
                self.keep(tensor, "")
            return None
        if is_number(node) or next(tensors_in((args, kwargs)), None) is None:
            return self.execute(node, args, kwargs) if is_number(node) else self.dry(node, *args, **kwargs)
        if node.op == "call_module" and isinstance(self.module_of(node), WEIGHTED):
            return self._layer(node, *args)
        handle = self.kind.get(self.name_of(node), self._unknown)
        return map_aggregate(handle(node, *args, **kwargs), lambda x: compact(x) if isinstance(x, Tensor) else x)

    def _layer(self, node: Node, x: Tensor) -> Tensor:
        module, path = self.module_of(node), str(node.target)
        is_conv = not isinstance(module, nn.Linear)
        read = self.found.columns[path] = self.read(node, x, 1 if is_conv else -1)
        groups = module.groups if is_conv else 1
        if is_conv and 1 < groups == module.in_channels:  # depthwise: each channel by itself
            rows = read.repeat_interleave(module.out_channels // groups)
            self.event(read, node.name, "depthwise")
        else:
            rows = self.fresh(path, self.widths.rows.get(path, module.out_channels if is_conv else module.out_features))
        if 1 < groups < module.in_channels if is_conv else False:
            for labels, role in ((read, "in"), (rows, "out")):
                self.divide(node, labels, groups, role)
        if numbers_of(module) is None or set(module._parameters) - _OWN:  # noqa: SLF001
            self.keep(torch.cat([read, rows]), f"{self.place(node)} has no rule to be made again")
        if is_head(layer_at(str(node.target))):
            self.keep(rows, "")
        self.found.rows[path] = rows
        shape = (1, len(rows), *_map_size(module, x)) if is_conv else (*x.shape[:-1], len(rows))
        result = rows.view(1, -1, *[1] * (len(shape) - 2)).expand(shape) if is_conv else rows.expand(shape)
        maps = x if isinstance(module, nn.modules.conv._ConvTransposeNd) else result  # noqa: SLF001  (no public name)
        self.found.positions[path] = maps.numel() // len(read if maps is x else rows)
        return result

    def _unknown(self, node: Node, *args: Any, **kwargs: Any) -> Any:
        for tensor in tensors_in((args, kwargs)):
            self.keep(tensor, f"{self.place(node)} is not known to keep channels apart")
        return self.dry(node, *args, **kwargs)

    def _contract(self, node: Node, *args: Any, **kwargs: Any) -> Any:
        for tensor in tensors_in((args, kwargs)):
            self.keep(tensor, f"{self.place(node)} takes them together")
        made = self.dry(node, *args, **kwargs)
        if self.name_of(node) in PRODUCTS:
            self.found.product_macs += PRODUCTS[self.name_of(node)](made, *args)
        return made

    def _create(self, node: Node, *args: Any, **kwargs: Any) -> Any:
        return self.dry(node, *args, **kwargs)

    def _elementwise(self, node: Node, *args: Any, **kwargs: Any) -> Tensor:
        tensors = list(tensors_in((args, kwargs)))
        if len(tensors) == 1:
            return tensors[0]
        shape = torch.broadcast_shapes(*[tensor.shape for tensor in tensors])
        spread = [tensor.expand(shape) for tensor in tensors]
        varied = [{dim for dim in range(len(shape)) if varies(tensor, dim)} for tensor in spread]
        by_layers = [dims if self.is_of_layers(x) else set() for dims, x in zip(varied, tensors, strict=True)]
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

    def _move(self, node: Node, *args: Any, **kwargs: Any) -> Any:
        x = args[0]
        if not isinstance(x, Tensor):  # of several tensors, or an item of a list of them
            return self.execute(node, args, kwargs)
        if self.name_of(node) == "getitem" and next(tensors_in(args[1:]), None) is not None:
            return self._unknown(node, *args, **kwargs)
        result = self.execute(node, args, kwargs)
        name = self.name_of(node)
        if name in kinds.NUMBERED:
            is_regrouped = self._is_regrouped(name, x, result)
            if is_regrouped and name == "split" and _is_literal(node.args[1:2]):
                size = sum(args[1])  # no other number of channels has parts of these sizes
                self.keep(x, f"{self.place(node)} needs all {size}")
            elif is_regrouped:
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
        return any(len(distinct(part)) < len(before) for part in tensors_in(result))

    def _join(self, node: Node, tensors: Sequence[Tensor], *args: Any, **kwargs: Any) -> Tensor:
        dim = args[0] if args else kwargs.get("dim", kwargs.get("axis", 0))
        if self.name_of(node) == "stack":
            return self.execute(node, (tensors, *args), kwargs)  # type: ignore[no-any-return]
        return joined(list(tensors), dim)

    def _spatial(self, node: Node, x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        name = self.name_of(node)
        shape = self.dry(node, x, *args, **kwargs)
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
        name = self.name_of(node)
        given = kwargs.get(
            "dim", kwargs.get("axis", (args[1:2] or [None])[0] if name == "norm" else (args or [None])[0])
        )
        dims = range(x.dim()) if given is None else [given] if isinstance(given, int) else given
        reduced = sorted({dim % x.dim() for dim in dims}, reverse=True)
        made = self.dry(node, x, *args, **kwargs)
        if not isinstance(made, Tensor):
            return self._unknown(node, x, *args, **kwargs)
        varied = {dim for dim in range(x.dim()) if varies(x, dim)}
        if name == "sum" and varied and varied <= set(reduced):
            self.read(node, x.reshape(-1, 1), 0)  # one that is 0 can go
            return made
        self.couple(node, x, reduced)
        keeps = made.dim() == x.dim()
        for dim in reduced:
            x = x.narrow(dim, 0, 1) if keeps else x.select(dim, 0)
        return x

    def _mix(self, node: Node, x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        if self.name_of(node) == "prelu" and self.module_of(node).num_parameters == 1:
            return x
        given = kwargs.get(
            "dim", args[0] if args else getattr(self.module_of(node), "dim", None) if node.op == "call_module" else None
        )
        dims = [given] if isinstance(given, int) and not isinstance(given, bool) else range(x.dim())
        self.couple(node, x, [dim % x.dim() for dim in dims])
        return x

    def _gate(self, node: Node, x: Tensor, dim: int = -1) -> Tensor:
        dim = self.module_of(node).dim if node.op == "call_module" else dim
        one, other = (compact(half) for half in x.chunk(2, dim))
        if varies(x, dim):
            self.regroup(x, node)
        return self._elementwise(node, one, other)

    def _pad(self, _: Node, x: Tensor, pads: Sequence[int], *__: Any, **___: Any) -> Tensor:
        return padded(x, pads)

    def _normed(self, node: Node, x: Tensor, dim: int) -> Tensor:
        """Note what a norm reads, [C]; one that is called again has the same channels to norm."""
        read, path = self.read(node, x, dim), str(node.target)
        if path in self.found.columns:
            self.tie(node, self.found.columns[path], read)
        self.found.columns[path] = read
        return read

    def _norm(self, node: Node, x: Tensor) -> Tensor:
        self._normed(node, x, 1)
        if numbers_of(self.module_of(node)) is None:
            self.keep(x, f"{self.place(node)} has no rule to be made again")
        return x

    def _group_norm(self, node: Node, x: Tensor) -> Tensor:
        read = self._normed(node, x, 1)
        groups = self.module_of(node).num_groups
        if groups > 1:
            self.divide(node, read, groups, "normed")
        return x

    def _layer_norm(self, node: Node, x: Tensor) -> Tensor:
        if numbers_of(self.module_of(node)) is None:
            self.keep(x, f"{self.place(node)} takes them together")
            return x
        self._normed(node, x, -1)
        return x


def _is_literal(sizes: tuple[Any, ...]) -> bool:
    """Return whether an argument is a list of numbers that are written into the code."""
    return bool(sizes) and isinstance(sizes[0], (list, tuple)) and all(isinstance(size, int) for size in sizes[0])


def _first(labels: Tensor, dimensions: int) -> Tensor:
    """Return the labels at 0 of so many last dimensions."""
    for _ in range(dimensions):
        labels = labels.select(-1, 0)
    return labels
