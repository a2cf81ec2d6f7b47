"""A graph of ONNX that is being written, or a branch of one: nodes and constants with names unique over all of them."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from coc_cli.runtime.graph import ZERO, Array, Grid, IntegerGraph, Value

OLDEST_OPSET = 17
AXES_ARE_INPUTS = 18  # the opset from which reductions take their axes as an input


@dataclass
class Names:
    """What is unique over all scopes of a file."""

    counter: Iterator[int] = field(default_factory=itertools.count)

    def fresh(self, stem: str) -> str:
        return f"{stem}_{next(self.counter)}"


@dataclass
class Scope:
    """Nodes and constants of one graph. Constants lie inside: runtimes do not prepack what is of an outer one."""

    graph: IntegerGraph
    names: Names
    held: dict[str, Any]  # the name in ONNX of each tensor made so far, here or outside; codes are uint8
    batch: bool
    opset: int = OLDEST_OPSET
    nodes: list[onnx.NodeProto] = field(default_factory=list)
    constants: list[onnx.TensorProto] = field(default_factory=list)

    def inner(self) -> Scope:
        """Return an empty scope for a branch: it may read what is held here."""
        return Scope(self.graph, self.names, dict(self.held), self.batch, self.opset)

    def op(self, kind: str, inputs: Sequence[str], name: Any = "", **attributes: Any) -> str:
        """Add a node with one output; return its name."""
        return self.ops(kind, inputs, 1, name, **attributes)[0]

    def ops(self, kind: str, inputs: Sequence[str], outputs: int, name: Any = "", **attributes: Any) -> list[str]:
        made = [name or self.names.fresh(kind.lower()) for _ in range(outputs)]
        self.nodes.append(helper.make_node(kind, list(inputs), made, name=made[0], **attributes))
        return made

    def constant(self, value: Any, kind: Any = np.float32) -> str:
        """Add a constant; return its name."""
        name = self.names.fresh("c")
        self.constants.append(numpy_helper.from_array(np.asarray(value, kind), name))
        return name

    def packed(self, codes: Array, kind: int) -> str:
        """Add a constant of 4 or 2 bits a number."""
        name = self.names.fresh("w")
        bits = 4 if kind == TensorProto.INT4 else 2
        per_byte = 8 // bits
        flat = codes.flatten().astype(np.int8).view(np.uint8) & (2**bits - 1)
        rows = np.pad(flat, (0, -len(flat) % per_byte)).reshape(-1, per_byte)  # the first number lowest
        content = (rows << (np.arange(per_byte, dtype=np.uint8) * bits)).sum(1, dtype=np.uint8).tobytes()
        self.constants.append(helper.make_tensor(name, kind, codes.shape, content, raw=True))
        return name

    def ints(self, *values: int) -> str:
        return self.constant(values, np.int64)

    def rename(self, outputs: dict[str, str]) -> None:
        """Let what is called by the values of `outputs` have the names of the keys."""
        new = {value: name for name, value in outputs.items()}
        for node in self.nodes:
            for names in (node.input, node.output):
                for place, name in enumerate(names):
                    names[place] = new.get(name, name)
        for constant in self.constants:
            constant.name = new.get(constant.name, constant.name)

    # Codes

    def value(self, name: str) -> Value:
        return self.graph.values[name]

    def float_of(self, name: str) -> str:
        """Return the name of a tensor's float32 values; every reader has its own, as runtimes fuse it with them."""
        grid = self.value(name).grid
        if grid is None:
            held: str = self.held[name]
            return held
        return self.op("DequantizeLinear", [self.held[name], self.constant(grid.scale), self.zero(grid)])

    def zero(self, grid: Grid) -> str:
        return self.constant(zero_of(grid), np.uint8)

    def rounded(self, source: str, grid: Grid, low: int | None = None, high: int | None = None) -> str:
        """Round float32 values to codes, from `low` to `high` where an activation clips them."""
        codes = self.op("QuantizeLinear", [source, self.constant(grid.scale), self.zero(grid)])
        zero = zero_of(grid)
        least, most = (grid.low if low is None else low) + zero, (grid.high if high is None else high) + zero
        if (least, most) == (0, 255):
            return codes
        return self.op("Clip", [codes, self.constant(least, np.uint8), self.constant(most, np.uint8)])

    # Shapes

    def reshaped(self, source: str, value: Value, *, name: str = "") -> str:
        """Return a tensor in the shape of a value, whatever the number of images."""
        return self.op("Reshape", [source, self.ints(*value.dims)], name=name)

    def reduced(self, kind: str, source: str, axes: Sequence[int], *, keep: bool) -> str:
        if self.opset >= AXES_ARE_INPUTS or kind == "ReduceSum":
            return self.op(kind, [source, self.ints(*axes)], keepdims=int(keep))
        return self.op(kind, [source], axes=list(axes), keepdims=int(keep))

    def images(self) -> str:
        """Return the name of the number of images, int64 [1]."""
        if not self.batch:
            return self.ints(1)
        shape = self.op("Shape", [self.held[self.graph.input]])
        return self.op("Slice", [shape, self.ints(0), self.ints(1)])

    def shape_of(self, value: Value) -> str:
        """Return the name of a value's shape, int64 [D]."""
        if value.rows == 0:
            return self.ints(*value.shape)
        rows = self.op("Mul", [self.images(), self.ints(value.rows)])
        before, behind = value.shape[: value.axis], value.shape[value.axis :]
        return self.op("Concat", [*([self.ints(*before)] if before else []), rows, self.ints(*behind)], axis=0)

    def to_proto(self, name: str, inputs: Sequence[Any], outputs: Sequence[Any]) -> onnx.GraphProto:
        return helper.make_graph(self.nodes, name, inputs, outputs, self.constants)


def zero_of(grid: Grid) -> int:
    """Return which unsigned byte stands for the code 0."""
    return ZERO if grid.low < 0 else 0


def described(name: str, shape: Sequence[Any], kind: int = TensorProto.FLOAT) -> Any:
    return helper.make_tensor_value_info(name, kind, shape)
