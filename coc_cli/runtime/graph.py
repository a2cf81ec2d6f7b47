"""The integer graph: a network as an integer runtime runs it. Every writer starts from it; no torch here.

Between layers there are codes, whole numbers on a grid: value = scale x code. A layer sums codes times codes exactly
and rounds the sum once, to the codes of its output. What is no integer operation reads and gives values in float32.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from coc_cli.nets.operations import OPERATIONS
from coc_cli.nets.spec import ExitRule

Array: TypeAlias = NDArray[Any]

ZERO = 128  # what stands for the code 0 of signed codes, where codes are unsigned bytes


@dataclass(frozen=True)
class Grid:
    """What the codes of a tensor mean: value = scale x code, with codes from low to high."""

    scale: float  # exactly a float32
    low: int
    high: int


@dataclass(frozen=True)
class Value:
    """A tensor between nodes: its shape for one image, and its grid; None where it is float32."""

    shape: tuple[int, ...]
    grid: Grid | None = None
    rows: int = 1  # one more dimension is so many times the number of images; 0: none is
    axis: int = 0  # which one that is

    @property
    def dims(self) -> tuple[int, ...]:
        """All dimensions, with -1 for the one that follows the number of images."""
        return (*self.shape[: self.axis], -1, *self.shape[self.axis :]) if self.rows else self.shape


class Ref(str):
    """An argument that is a tensor: the name of the node that gives it."""

    __slots__ = ()


class PerImage(int):
    """An argument that is so many times the number of images."""


@dataclass(frozen=True)
class Window:
    """How a convolution or an average goes over a map, height first; padding is top, left, bottom, right."""

    kernel: tuple[int, int]
    stride: tuple[int, int] = (1, 1)
    padding: tuple[int, int, int, int] = (0, 0, 0, 0)
    dilation: tuple[int, int] = (1, 1)


@dataclass(frozen=True, eq=False)
class Node:
    """What gives the tensor of its name."""

    name: str
    inputs: tuple[str, ...]

    def tensors(self) -> Iterator[Array]:
        """Yield all numbers that a file must hold for it."""
        yield from ()


@dataclass(frozen=True, eq=False)
class Round(Node):
    """Values, or codes of another grid, to the nearest code, halves to even."""


@dataclass(frozen=True, eq=False)
class Layer(Node):
    """A convolution or a linear layer: sums of code times code plus bias, rounded to the output's codes.

    The sum's step is the input's scale times `scale`, by output channel. With a float32 output (no grid) the sum is
    multiplied by that step and not rounded.
    """

    layer: str  # its name in the network
    codes: Array  # int8 [O, I / groups, kh, kw] or [O, I]
    scale: Array  # float32 [O]
    bias: Array  # int32 [O]
    low: int = 0  # of the output's codes, a clipping activation included
    high: int = 0
    window: Window | None = None  # None: a linear layer
    groups: int = 1

    def tensors(self) -> Iterator[Array]:
        yield from (self.codes, self.scale, self.bias)


@dataclass(frozen=True, eq=False)
class Sum(Node):
    """The sum of two tensors of codes, rounded to the output's codes."""

    low: int
    high: int


@dataclass(frozen=True, eq=False)
class Concat(Node):
    """Tensors of codes one behind the other, each rounded to the output's codes."""

    axis: int


@dataclass(frozen=True, eq=False)
class Average(Node):
    """The mean of codes over windows, or over the whole map, rounded to the output's codes."""

    window: Window | None  # None: the whole map


@dataclass(frozen=True, eq=False)
class Operation(Node):
    """One of `nets/operations.py`, or a module, by its name in lower case.

    `arguments` are those of the operation in order, with `Ref` for tensors; of a module, first its tensor, and
    `attributes` are its constructor's. Where its output has the grid of its input it only moves codes about.
    """

    kind: str
    arguments: tuple[Any, ...]
    attributes: Mapping[str, Any] = field(default_factory=dict)
    parameters: Mapping[str, Array] = field(default_factory=dict)
    layer: str = ""  # the name in the network, if it is a convolution or a linear layer

    def bound(self, arguments: Sequence[Any]) -> dict[str, Any]:
        """Return what stands for its arguments, in their order, by the operation's names; with all attributes."""
        if self.kind in OPERATIONS and not self.attributes:
            given = OPERATIONS[self.kind].parameters.bind(*arguments)
            given.apply_defaults()
            return dict(given.arguments)
        return {"x": arguments[0] if arguments else None, **self.attributes}

    def tensors(self) -> Iterator[Array]:
        yield from self.parameters.values()


@dataclass(frozen=True)
class IntegerGraph:
    """A network with its exits; the nodes up to an exit's output are all that is needed for it."""

    nodes: tuple[Node, ...]
    values: Mapping[str, Value]  # of each node, and of the input
    input: str
    outputs: tuple[str, ...]  # of the exits in order, the final one last
    rule: ExitRule | None
    classes: int  # how many of an exit's numbers are logits or targets
    scale: tuple[tuple[float, ...], tuple[float, ...]] | None  # mean and deviation of targets; None: classes
    kept_float: Mapping[str, str]  # why, by layer, for those that are no integer operation

    @property
    def layers(self) -> tuple[str, ...]:
        """The names of all convolutions and linear layers, in order."""
        return tuple(node.layer for node in self.nodes if isinstance(node, Layer | Operation) and node.layer)

    @property
    def integer_layers(self) -> tuple[str, ...]:
        return tuple(node.layer for node in self.nodes if isinstance(node, Layer))

    def stretches(self) -> list[tuple[Node, ...]]:
        """Return the nodes cut behind each exit's output."""
        stretches, start = [], 0
        ends = {name: index + 1 for index, node in enumerate(self.nodes) for name in [node.name]}
        for output in self.outputs[:-1]:
            stretches.append(self.nodes[start : ends[output]])
            start = ends[output]
        return [*stretches, self.nodes[start:]]


def saturates(layer: Layer, codes: Grid) -> bool:
    """Return whether 16 bits may not hold the sum of two products, as processors without VNNI need.

    They multiply unsigned codes by signed ones and add neighbours in 16 bits (vpmaddubsw).
    """
    largest = codes.high + (ZERO if codes.low < 0 else 0)
    rows = np.sort(np.abs(layer.codes.astype(np.int32)).reshape(len(layer.codes), -1), axis=1)
    return bool((largest * rows[:, -2:].sum(1)).max() > np.iinfo(np.int16).max)
