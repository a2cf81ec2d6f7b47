"""A TFLite file in the making: where each tensor of an integer graph lies, how its codes are bytes, in which layout.

Bytes are signed. The highest code of a grid is always the byte 127, so that a byte clips there by itself, whatever the
bits; from below, RELU clips at the code 0 and MAXIMUM elsewhere. Maps lie channels last; a permutation of dimensions
only changes what is said about a tensor, and bytes are moved when someone needs them in another order.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from coc_cli.errors import StageError
from coc_cli.runtime.graph import Array, Grid, IntegerGraph
from coc_cli.runtime.writers.tflite_file import Model, Tensor, schema

TOP, BOTTOM = 127, -128
INSTEAD = "write `--to onnx` instead"
MAP = (0, 2, 3, 1)  # the dimensions of [N, C, H, W] in the order in which a map lies


@dataclass(frozen=True)
class Held:
    """A tensor: its place in the file, which dimension each of its axes is, and how low its codes may be."""

    index: int
    order: tuple[int, ...]
    grid: Grid
    low: int


@dataclass
class Scope:
    """What has been written so far."""

    graph: IntegerGraph
    ranges: Mapping[str, float]  # the largest number of each tensor without a grid of its own
    model: Model = field(default_factory=Model)
    held: dict[str, Any] = field(default_factory=dict)  # a `Held`, or several for an operation with several outputs

    # Shapes and grids

    def shape(self, name: str) -> tuple[int, ...]:
        """Return a tensor's shape for one image, all its dimensions."""
        value = self.graph.values[name]
        return tuple(value.rows if size < 0 else size for size in value.dims)

    def grid(self, name: str) -> Grid:
        """Return a tensor's grid; where it has none, one of 8 bits that holds what was seen there."""
        grid = self.graph.values[name].grid
        if grid is not None:
            return grid
        if name not in self.ranges:
            raise StageError(f"'{name}' has no range; measure it on images by `calibrated`", "to")
        return Grid(float(np.float32(max(self.ranges[name], 1e-6) / TOP)), BOTTOM, TOP)

    def one(self, name: str) -> Held:
        held = self.held.get(name)
        if isinstance(held, Held):
            return held
        raise StageError(f"'{name}' is not rounded to codes, as TFLite needs here; {INSTEAD}", "to")

    def ordered(self, held: Held, order: tuple[int, ...]) -> Held:
        """Return a tensor whose axes lie in some order of its dimensions."""
        if held.order == order:
            return held
        old = self.model.tensors[held.index]
        turns = [held.order.index(dim) for dim in order]
        made = replace(old, shape=tuple(old.shape[turn] for turn in turns))
        index = self.model.op("TRANSPOSE", [held.index, self.model.constant(turns)], made, "TransposeOptions")
        return replace(held, index=index, order=order)

    def map(self, name: str) -> Held:
        """Return a map [1, H, W, C] by its name."""
        return self.ordered(self.one(name), MAP)

    def plain(self, name: str) -> Held:
        """Return a tensor with its dimensions in their own order."""
        held = self.one(name)
        return self.ordered(held, tuple(range(len(held.order))))

    # Operators

    def tensor(self, shape: tuple[int, ...], order: tuple[int, ...], grid: Grid) -> Tensor:
        """Return a tensor of codes, by the shape in the order of dimensions."""
        return Tensor(tuple(shape[dim] for dim in order), np.array([grid.scale], np.float32), TOP - grid.high)

    def moved(
        self, held: Held, kind: str, inputs: list[int], shape: tuple[int, ...], options: str = "", **fields: Any
    ) -> Held:
        """Add an operator that keeps codes; `shape` is in the order of axes."""
        made = replace(self.model.tensors[held.index], shape=shape)
        return replace(held, index=self.model.op(kind, [held.index, *inputs], made, options, **fields))

    def rounded(
        self,
        kind: str,
        inputs: list[int],
        like: Held,
        shape: tuple[int, ...],
        *,
        high: int | None = None,
        lowest: int = BOTTOM,
        options: str = "",
        can_clip: bool = True,
        **fields: Any,
    ) -> Held:
        """Add an operator that rounds to a grid, and what clips its codes.

        Args:
            kind: Of the operator.
            inputs: The tensors that it reads.
            like: The order, the grid and the lowest code of what it gives.
            shape: Of what it gives, in the order of dimensions.
            high: Its highest code; that of the grid if none is given.
            lowest: A bound below which no code falls by itself.
            options: The name of the operator's options.
            can_clip: Whether they take an activation.
            fields: The options' other fields.
        """
        grid, high = like.grid, like.grid.high if high is None else high
        zero = TOP - grid.high
        least, most = like.low + zero, high + zero
        is_low = least > BOTTOM and lowest < like.low
        activation = "NONE"
        if can_clip and like.low == 0:
            is_six = most < TOP and round(6 / grid.scale) == high
            activation = "RELU6" if is_six else "RELU" if is_low else "NONE"
            is_low = False
        if can_clip:
            fields["FusedActivationFunction"] = getattr(schema().ActivationFunctionType, activation)
        made = self.tensor(shape, like.order, grid)
        index = self.model.op(kind, inputs, made, options, **fields)
        if is_low:
            index = self.model.op("MAXIMUM", [index, self.model.constant([least], made)], made)
        if most < TOP and activation != "RELU6":
            index = self.model.op("MINIMUM", [index, self.model.constant([most], made)], made)
        return replace(like, index=index)

    def parameters(self, source: Held, codes: Array, scale: Array, bias: Array, axis: int) -> list[int]:
        """Add weights with a step for each place of an axis, and a bias; return their places."""
        step = np.float32(source.grid.scale) * scale
        weights = self.model.add(Tensor(codes.shape, scale, axis=axis, data=codes))
        return [weights, self.model.add(Tensor(bias.shape, step, data=bias, kind="INT32"))]

    def requantized(self, held: Held, grid: Grid) -> Held:
        """Return codes of another grid.

        By adding zeros: runtimes keep more digits of a ratio there than in QUANTIZE (XNNPACK's has 8 bits of it, and
        TensorFlow Lite Micro's rounds twice), and it clips as well.
        """
        if held.grid == grid:
            return held
        shape = self.model.tensors[held.index].shape
        dims = tuple(shape[held.order.index(dim)] for dim in range(len(shape)))
        zero = self.model.constant([0], replace(self.model.tensors[held.index], zero=0))
        inputs, like = [held.index, zero], Held(0, held.order, grid, grid.low)
        made = self.rounded("ADD", inputs, like, dims, options="AddOptions")
        return replace(made, low=max(grid.low, 0)) if held.low >= 0 else made

    def joined(self, parts: Sequence[Held], axis: int, shape: tuple[int, ...], grid: Grid) -> Held:
        """Return tensors one behind the other, as codes of one grid."""
        order = parts[0].order
        same = [self.requantized(self.ordered(part, order), grid) for part in parts]
        inputs, made = [part.index for part in same], self.tensor(shape, order, grid)
        index = self.model.op("CONCATENATION", inputs, made, "ConcatenationOptions", Axis=order.index(axis))
        return Held(index, order, grid, min(part.low for part in same))

    # Windows

    def windowed(
        self, held: Held, out: tuple[int, ...], window: tuple[Any, ...], *, lowest: bool = False
    ) -> tuple[Held, str]:
        """Return a map padded for windows, and which of TFLite's two paddings does the rest.

        Args:
            held: A map.
            out: The size of what comes out, [H, W].
            window: The windows' extents, their strides, and what is padded at top and left.
            lowest: Whether what is padded is smaller than all codes, instead of 0.
        """
        size, around = self.model.tensors[held.index].shape[1:3], []
        is_same, is_valid = True, True
        for length, made, extent, stride, before in zip(size, out, *window, strict=True):
            behind = max((made - 1) * stride + extent - length - before, 0)
            total = max((-(-length // stride) - 1) * stride + extent - length, 0)
            is_same &= made == -(-length // stride) and before == total // 2
            is_valid &= before == 0 and behind == 0
            around.append((before, behind))
        if is_valid or is_same:
            return held, "VALID" if is_valid else "SAME"
        pads = self.model.constant([(0, 0), *around, (0, 0)])
        shape = self.model.tensors[held.index].shape
        wide = (shape[0], *(length + sum(pair) for length, pair in zip(size, around, strict=True)), shape[3])
        if lowest and held.low < 0:
            least = self.model.constant([BOTTOM], self.model.tensors[held.index])
            return self.moved(held, "PADV2", [pads, least], wide, "PadV2Options"), "VALID"
        return self.moved(held, "PAD", [pads], wide, "PadOptions"), "VALID"
