"""Channels of zeros that make a network faster: kernels run on 16 or 4 channels at a time.

On ONNX Runtime a 3x3 convolution of 17 or 30 channels is slower than one of 32; outputs stay equal to the last bit.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np

from coc_cli.runtime.graph import Array, Average, IntegerGraph, Layer, Node, Operation, Round, Sum, Value

WIDE, NARROW, WORTH = 16, 4, 1.25
BY_CHANNEL = frozenset(
    ("maxpool2d", "max_pool2d", "adaptivemaxpool2d", "adaptive_max_pool2d", "zeropad2d", "upsample", "interpolate")
)
_RESHAPES = frozenset(("flatten", "reshape", "squeeze"))


def padded(graph: IntegerGraph) -> IntegerGraph:
    """Return the same network with channels of zeros where they help and nothing can see them."""
    groups = _Groups(graph)
    widths = {
        name: wide
        for name, value in graph.values.items()
        if value.shape and groups.may_grow(name) and (wide := _wide(value.shape[0])) != value.shape[0]
    }
    values = {
        name: replace(value, shape=(widths.get(name, value.shape[0]), *value.shape[1:])) if name in widths else value
        for name, value in graph.values.items()
    }
    nodes = tuple(_grown(node, values) if isinstance(node, Layer) else node for node in graph.nodes)
    return replace(graph, nodes=nodes, values=values)


def _wide(channels: int) -> int:
    wide = -(-channels // WIDE) * WIDE
    return wide if channels < WIDE or wide <= WORTH * channels else -(-channels // NARROW) * NARROW


def _grown(node: Layer, values: dict[str, Value]) -> Layer:
    outputs = values[node.name].shape[0 if node.window else -1]
    inputs = values[node.inputs[0]].shape[0 if node.window else -1]
    is_depthwise = node.groups > 1 and node.codes.shape[1] == 1
    more = outputs - len(node.codes), 0 if node.groups > 1 else inputs - node.codes.shape[1]
    if more == (0, 0):
        return node
    sizes = [(0, more[0]), (0, more[1]), *[(0, 0)] * (node.codes.ndim - 2)]

    def longer(numbers: Array, value: Any) -> Array:
        return np.pad(numbers, (0, more[0]), constant_values=value)

    return replace(
        node,
        codes=np.pad(node.codes, sizes),
        scale=longer(node.scale, 1),
        bias=longer(node.bias, 0),
        groups=outputs if is_depthwise else node.groups,
    )


class _Groups:
    """Tensors whose channels are the same ones, and which of them may get more."""

    def __init__(self, graph: IntegerGraph) -> None:
        self.graph = graph
        self.parent = {name: name for name in graph.values}
        self.fixed = {graph.input, *graph.outputs, *(n for n, v in graph.values.items() if not v.grid or v.rows != 1)}
        for node in graph.nodes:
            self.fixed.update(self._fixed(node))
            first, *others = self._tied(node)
            for other in others:
                self.parent[self._root(other)] = self._root(first)
        self.fixed_roots = {self._root(name) for name in self.fixed}

    def may_grow(self, name: str) -> bool:
        return self._root(name) not in self.fixed_roots

    def _root(self, name: str) -> str:
        while self.parent[name] != name:
            self.parent[name] = self.parent[self.parent[name]]
            name = self.parent[name]
        return name

    def _tied(self, node: Node) -> tuple[str, ...]:
        """Return the tensors around a node that have the same channels."""
        if isinstance(node, Layer):
            return (node.name, *node.inputs) if node.groups > 1 else (node.name,)
        return node.name, *node.inputs

    def _fixed(self, node: Node) -> Iterator[str]:
        """Yield the tensors around a node that must stay as they are."""
        shapes = [self.graph.values[name].shape for name in (node.name, *node.inputs)]
        if isinstance(node, Layer):
            is_whole = node.groups > 1 and node.codes.shape[1:2] + (len(node.codes),) != (1, node.groups)
            if is_whole or (node.window is None and len(shapes[1]) > 1):
                yield from (node.name, *node.inputs)
        elif isinstance(node, Operation):
            by_channel = node.kind in BY_CHANNEL or (node.kind in _RESHAPES and _is_flat(*shapes))
            if not by_channel:
                yield from (node.name, *node.inputs)
        elif not isinstance(node, Round | Sum | Average):
            yield from (node.name, *node.inputs)


def _is_flat(made: tuple[int, ...], source: tuple[int, ...] = ()) -> bool:
    """Return whether a reshape only takes dimensions of one away."""
    return len(made) == 1 and made[:1] == source[:1] and set(source[1:]) <= {1}
