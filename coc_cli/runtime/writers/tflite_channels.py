"""What each channel of a map goes through by itself: averages, and norms and activations that stand before a layer."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from coc_cli.runtime.graph import Array, Grid, Operation, Window
from coc_cli.runtime.writers.tflite_file import schema
from coc_cli.runtime.writers.tflite_scope import BOTTOM, MAP, TOP, Held, Scope

LARGEST_BIAS = 2**24


def windows(scope: Scope, source: Held, window: Window, out: tuple[int, ...]) -> tuple[Held, dict[str, Any]]:
    """Return a map padded for windows, and the options that describe these."""
    (height, width), (down, right), (dh, dw) = window.kernel, window.stride, window.dilation
    extents = (dh * (height - 1) + 1, dw * (width - 1) + 1)
    padded, padding = scope.windowed(source, out, (extents, window.stride, window.padding[:2]))
    sizes = {"StrideH": down, "StrideW": right, "DilationHFactor": dh, "DilationWFactor": dw}
    return padded, {"Padding": getattr(schema().Padding, padding), **sizes}


def averages(scope: Scope, source: Held, window: Window, shape: tuple[int, ...], grid: Grid) -> Held:
    """Write means over windows, [N, C, H, W] by its shape.

    A convolution with ones: of all averages it alone rounds once, to another step, with zeros around a map.
    """
    channels = shape[1]
    source, fields = windows(scope, source, window, shape[2:])
    ones = np.ones((1, *window.kernel, channels), np.int8)
    scale = np.full(channels, 1 / ones[..., 0].size, np.float32)
    inputs = [source.index, *scope.parameters(source, ones, scale, np.zeros(channels, np.int32), 3)]
    options = {"options": "DepthwiseConv2DOptions", "DepthMultiplier": 1, **fields}
    return scope.rounded("DEPTHWISE_CONV_2D", inputs, Held(0, MAP, grid, grid.low), shape, **options)


def averaged(scope: Scope, source: Held, shape: tuple[int, ...], grid: Grid) -> Held:
    """Write the means over a map, [N, C] or [N, C, 1, 1] by their shape."""
    keeps = len(shape) == len(MAP)
    like = Held(0, MAP if keeps else (0, 1), grid, grid.low)
    lowest = 0 if source.low >= 0 else BOTTOM * 2
    inputs = [source.index, scope.model.constant([1, 2])]
    options: dict[str, Any] = {"options": "ReducerOptions", "KeepDims": keeps}
    return scope.rounded("MEAN", inputs, like, shape, lowest=lowest, can_clip=False, **options)


@dataclass(frozen=True, eq=False)
class Affine:
    """Values gain x code's value + shift of each channel of a map, clipped; they wait for what rounds them."""

    source: Held
    gain: Array
    shift: Array
    low: float = -np.inf
    high: float = np.inf


def norm(held: Any, node: Operation, epsilon: float) -> Affine | None:
    """Return what a batch norm does to a map of codes; None where it does not read one or has no statistics."""
    given = node.parameters
    if not isinstance(held, Held) or len(held.order) != len(MAP) or "running_var" not in given:
        return None
    gain = given.get("weight", 1) / np.sqrt(given["running_var"].astype(np.float64) + epsilon)
    return Affine(held, gain, given.get("bias", 0) - given["running_mean"] * gain)


def clipped(held: Any, low: float, high: float) -> Affine | None:
    """Return what an activation that clips does to an `Affine`; None for anything else."""
    return replace(held, low=max(low, held.low), high=min(high, held.high)) if isinstance(held, Affine) else None


def rounded(scope: Scope, affine: Affine, shape: tuple[int, ...], grid: Grid) -> Held:
    """Write values of a map as codes of a grid; `shape` is in the order of dimensions."""
    source, step = scope.ordered(affine.source, MAP), affine.source.grid.scale
    scale = np.maximum(np.abs(affine.gain) / TOP, np.maximum(np.abs(affine.shift), 1e-30) / LARGEST_BIAS / step)
    codes = np.rint(affine.gain / scale).astype(np.int8).reshape(1, 1, 1, -1)
    bias = np.rint(affine.shift / (scale * step)).astype(np.int32)
    inputs = [source.index, *scope.parameters(source, codes, scale.astype(np.float32), bias, 3)]
    low, high = (round(float(np.clip(limit / grid.scale, grid.low, grid.high))) for limit in (affine.low, affine.high))
    options: dict[str, Any] = {"options": "DepthwiseConv2DOptions", "StrideH": 1, "StrideW": 1, "DepthMultiplier": 1}
    return scope.rounded("DEPTHWISE_CONV_2D", inputs, Held(0, MAP, grid, low), shape, high=high, **options)
