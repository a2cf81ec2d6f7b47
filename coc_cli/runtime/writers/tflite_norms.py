"""Norms and activations that stand before a layer, between codes and a rounding: one convolution of each channel."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from coc_cli.runtime.graph import Array, Grid, Operation
from coc_cli.runtime.writers.tflite_scope import MAP, TOP, Held, Scope

LARGEST_BIAS = 2**24


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
