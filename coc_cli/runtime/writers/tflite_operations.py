"""How TFLite says what only moves codes: one function for each operation and module that does.

Each takes the scope, the operation and its arguments by name (a tensor is where it lies), and returns where what it
gives lies, or a list of these for several tensors.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np

from coc_cli.errors import StageError
from coc_cli.runtime.graph import Grid, IntegerGraph, Operation, Ref, Window
from coc_cli.runtime.writers.tflite_channels import Affine, averages, clipped, norm
from coc_cli.runtime.writers.tflite_file import schema
from coc_cli.runtime.writers.tflite_scope import BOTTOM, INSTEAD, MAP, TOP, Held, Scope

Emitter = Callable[[Scope, Operation, Any], Any]
EMITTERS: dict[str, Emitter] = {}
_FLOAT = "is computed in float32, and TFLite files are of bytes"
_CLIPS = {"relu": (0.0, math.inf), "relu6": (0.0, 6.0)}
_WAITING = frozenset(("batchnorm2d", *_CLIPS))
_POOLED = frozenset(("adaptiveavgpool2d", "adaptive_avg_pool2d", "avgpool2d", "avg_pool2d", "mean"))


def emit(scope: Scope, node: Operation) -> Any:
    """Write an operation; return where what it gives lies, or several.

    Raises:
        StageError: If it does more than moving codes, or TFLite has no words for it here.
    """
    emitter = EMITTERS.get(node.kind)
    if emitter is None:
        raise refusal(node, _FLOAT)

    def filled(argument: Any) -> Any:
        if isinstance(argument, Ref):
            held = scope.held.get(argument)
            return held if isinstance(held, list) or node.kind in _WAITING else scope.one(argument)
        if isinstance(argument, tuple | list):
            return tuple(filled(item) for item in argument)
        return argument

    return emitter(scope, node, SimpleNamespace(**node.bound([filled(argument) for argument in node.arguments])))


def refusal(node: Operation, why: str) -> StageError:
    return StageError(f"'{node.name}' ({node.kind}) {why}; {INSTEAD}", "to")


def averages_map(graph: IntegerGraph, node: Operation) -> bool:
    """Return whether an operation is the mean of codes over a map, though no quantiser is behind it."""
    if node.kind not in _POOLED or len(node.inputs) != 1 or graph.values[node.inputs[0]].grid is None:
        return False
    source, made = graph.values[node.inputs[0]].shape, graph.values[node.name].shape
    if len(source) != len(MAP) - 1 or graph.values[node.name].grid is not None or made[:1] != source[:1]:
        return False
    if node.kind == "mean":
        dims = node.arguments[1] if len(node.arguments) > 1 else None
        return isinstance(dims, tuple | list) and {dim % len(MAP) for dim in dims} == {2, 3}
    return math.prod(made[1:]) == 1 and not any(_pair(node.attributes.get("padding", 0)))


def emits(*kinds: str) -> Callable[[Emitter], Emitter]:
    def note(emitter: Emitter) -> Emitter:
        EMITTERS.update(dict.fromkeys(kinds, emitter))
        return emitter

    return note


def _pair(value: Any) -> tuple[int, ...]:
    return tuple(value) if isinstance(value, tuple | list) else (value, value)


def _dims(scope: Scope, held: Held) -> tuple[int, ...]:
    """Return a tensor's shape in the order of dimensions."""
    shape = scope.model.tensors[held.index].shape
    return tuple(shape[held.order.index(dim)] for dim in range(len(shape)))


@emits(*_WAITING)
def _wait(_: Scope, node: Operation, a: Any) -> Affine:
    waiting = clipped(a.x, *_CLIPS[node.kind]) if node.kind in _CLIPS else norm(a.x, node, a.eps)
    if waiting is None:
        raise refusal(node, _FLOAT)
    return waiting


# Shapes


@emits("flatten", "reshape", "view", "squeeze", "unsqueeze", "unflatten")
def _reshape(scope: Scope, node: Operation, a: Any) -> Held:
    return reshaped(scope, a.x, scope.shape(node.name))


def reshaped(scope: Scope, held: Held, shape: tuple[int, ...]) -> Held:
    """Return a tensor with another shape, moving bytes only where it must."""
    old = _dims(scope, held)
    if old == shape:
        return held
    order = _same_bytes(held, old, shape)
    if order is None and len(old) > 2 and len(shape) > 2 and (old[0], *old[-2:]) == (shape[0], *shape[-2:]):  # noqa: PLR2004
        held, order = scope.ordered(held, _channels_last(len(old))), _channels_last(len(shape))
    elif order is None:
        held, order = scope.ordered(held, tuple(range(len(old)))), tuple(range(len(shape)))
    lies = tuple(shape[dim] for dim in order)
    if lies == scope.model.tensors[held.index].shape:
        return replace(held, order=order)
    made = scope.moved(held, "RESHAPE", [scope.model.constant(lies)], lies, "ReshapeOptions")
    return replace(made, order=order)


def _channels_last(rank: int) -> tuple[int, ...]:
    return 0, rank - 2, rank - 1, *range(1, rank - 2)


def _same_bytes(held: Held, old: tuple[int, ...], shape: tuple[int, ...]) -> tuple[int, ...] | None:
    """Return the order of a tensor's axes after a reshape that only adds or drops dimensions of one; else None."""
    before, after = ([dim for dim, size in enumerate(sizes) if size != 1] for sizes in (old, shape))
    if [old[dim] for dim in before] != [shape[dim] for dim in after]:
        return None
    real = [after[before.index(dim)] for dim in held.order if old[dim] != 1]
    rank = len(shape)
    for order in ((MAP,) if rank == len(MAP) else ()) + (tuple(range(rank)),):
        if [dim for dim in order if shape[dim] != 1] == real:
            return order
    return (*(dim for dim in range(rank) if shape[dim] == 1), *real)


@emits("permute", "transpose", "movedim")
def _permute(_: Scope, node: Operation, a: Any) -> Held:
    rank = len(a.x.order)
    if node.kind == "permute":
        dims = [dim % rank for dim in a.dims]
    elif node.kind == "transpose":
        dims = list(range(rank))
        first, second = a.dim0 % rank, a.dim1 % rank
        dims[first], dims[second] = second, first
    else:
        source, target = ([dim % rank for dim in _single(part)] for part in (a.source, a.destination))
        dims = [dim for dim in range(rank) if dim not in source]
        for place, dim in sorted(zip(target, source, strict=True)):
            dims.insert(place, dim)
    return permuted(a.x, dims)


def _single(value: Any) -> tuple[int, ...]:
    return tuple(value) if isinstance(value, tuple | list) else (value,)


def permuted(held: Held, dims: Sequence[int]) -> Held:
    """Return a tensor whose dimension d was `dims[d]`; no byte moves."""
    return replace(held, order=tuple(dims.index(dim) for dim in held.order))


@emits("channel_shuffle", "channelshuffle")
def _shuffle(scope: Scope, node: Operation, a: Any) -> Held:
    images, channels, *size = scope.shape(node.name)
    split = reshaped(scope, a.x, (images, a.groups, channels // a.groups, *size))
    turned = permuted(split, [0, 2, 1, *range(3, 3 + len(size))])
    return reshaped(scope, turned, (images, channels, *size))


@emits("cat")
def _join(scope: Scope, node: Operation, a: Any) -> Held:
    """Join tensors, of which no quantiser has rounded the steps to one."""
    dim, grids = a.dim % len(a.tensors[0].order), [part.grid for part in a.tensors]
    grid = grids[0] if len(set(grids)) == 1 else _widest(grids)
    return scope.joined(a.tensors, dim, scope.shape(node.name), grid)


def _widest(grids: Sequence[Grid]) -> Grid:
    """Return a grid of 8 bits over the ranges of others, for what no quantiser rounds though bytes need it."""
    lowest, highest = min(grid.low * grid.scale for grid in grids), max(grid.high * grid.scale for grid in grids)
    if lowest == 0:
        return Grid(float(np.float32(highest / (TOP - BOTTOM))), 0, TOP - BOTTOM)
    return Grid(float(np.float32(max(highest / TOP, lowest / BOTTOM))), BOTTOM, TOP)


# Slices


def sliced(scope: Scope, held: Held, bounds: Sequence[tuple[int, int, int]]) -> Held:
    """Return a tensor's elements between bounds: begin, end and step of each dimension."""
    dims = _dims(scope, held)
    if [tuple(bound) for bound in bounds] == [(0, size, 1) for size in dims]:
        return held
    parts = [[bounds[dim][part] for dim in held.order] for part in range(3)]
    shape = tuple(len(range(*bounds[dim])) for dim in held.order)
    inputs = [scope.model.constant(part) for part in parts]
    return scope.moved(held, "STRIDED_SLICE", inputs, shape, "StridedSliceOptions")


def _between(scope: Scope, held: Held, dim: int, begin: int, end: int) -> Held:
    bounds = [(0, size, 1) for size in _dims(scope, held)]
    bounds[dim % len(bounds)] = (begin, end, 1)
    return sliced(scope, held, bounds)


@emits("narrow")
def _narrow(scope: Scope, _: Operation, a: Any) -> Held:
    start = a.start % _dims(scope, a.x)[a.dim]
    return _between(scope, a.x, a.dim, start, start + a.length)


@emits("select")
def _select(scope: Scope, node: Operation, a: Any) -> Held:
    place = a.index % _dims(scope, a.x)[a.dim]
    return reshaped(scope, _between(scope, a.x, a.dim, place, place + 1), scope.shape(node.name))


@emits("chunk", "split")
def _pieces(scope: Scope, node: Operation, a: Any) -> list[Held]:
    length = _dims(scope, a.x)[a.dim]
    size = -(-length // a.chunks) if node.kind == "chunk" else a.split_size
    sizes = list(size) if isinstance(size, tuple | list) else [size] * -(-length // size)
    starts = [sum(sizes[:place]) for place in range(len(sizes))]
    return [
        _between(scope, a.x, a.dim, start, min(start + size, length)) for start, size in zip(starts, sizes, strict=True)
    ]


@emits("getitem")
def _getitem(scope: Scope, node: Operation, a: Any) -> Any:
    if isinstance(a.x, list):
        return a.x[a.index]
    index = a.index if isinstance(a.index, tuple) else (a.index,)
    dims = _dims(scope, a.x)
    taken = sum(part is not None and part is not ... for part in index)
    full = [part for one in index for part in ([slice(None)] * (len(dims) - taken) if one is ... else [one])]
    bounds: list[tuple[int, int, int]] = []
    for part in (part for part in full if part is not None):
        size = dims[len(bounds)]
        if isinstance(part, slice):
            bounds.append(part.indices(size))
        elif isinstance(part, int):
            bounds.append((part % size, part % size + 1, 1))
        else:
            raise refusal(node, "takes elements by a tensor, for which coc has no TFLite")
    bounds += [(0, size, 1) for size in dims[len(bounds) :]]
    return reshaped(scope, sliced(scope, a.x, bounds), scope.shape(node.name))


# Maps


@emits("maxpool2d", "max_pool2d")
def _max_pool(scope: Scope, node: Operation, a: Any) -> Held:
    if set(_pair(a.dilation)) != {1}:
        raise refusal(node, "has windows with holes, for which coc has no TFLite")
    stride = a.kernel_size if a.stride is None else a.stride
    return _pooled(scope, node, a.x, (_pair(a.kernel_size), _pair(stride), _pair(a.padding)))


@emits("adaptivemaxpool2d", "adaptive_max_pool2d")
def _adaptive(scope: Scope, node: Operation, a: Any) -> Held:
    size, wanted = _dims(scope, a.x)[2:], scope.shape(node.name)[2:]
    if any(old % new for old, new in zip(size, wanted, strict=True)):
        raise refusal(node, "has windows that differ in size, for which coc has no TFLite")
    kernel = tuple(old // new for old, new in zip(size, wanted, strict=True))
    return _pooled(scope, node, a.x, (kernel, kernel, (0, 0)))


def _pooled(scope: Scope, node: Operation, held: Held, window: tuple[tuple[int, ...], ...]) -> Held:
    shape = scope.shape(node.name)
    padded, padding = scope.windowed(scope.ordered(held, MAP), shape[2:], window, lowest=True)
    (height, width), (down, right), _ = window
    lies = tuple(shape[dim] for dim in MAP)
    fields = {"FilterHeight": height, "FilterWidth": width, "StrideH": down, "StrideW": right}
    fields["Padding"] = getattr(schema().Padding, padding)
    return scope.moved(padded, "MAX_POOL_2D", [], lies, "Pool2DOptions", **fields)


@emits("avgpool2d", "avg_pool2d")
def _average_pool(scope: Scope, node: Operation, a: Any) -> Held:
    around = _pair(a.padding)
    if a.ceil_mode or a.divisor_override or (any(around) and not a.count_include_pad):
        raise refusal(node, "does not count zeros around a map, for which coc has no TFLite")
    kernel: Any = _pair(a.kernel_size)
    stride: Any = kernel if a.stride is None else _pair(a.stride)
    window = Window(kernel, stride, (around[0], around[1], around[0], around[1]))
    return averages(scope, scope.ordered(a.x, MAP), window, scope.shape(node.name), _widest([a.x.grid]))


@emits("pad", "zeropad2d", "constantpad2d")
def _pad(scope: Scope, node: Operation, a: Any) -> Held:
    around = list(getattr(a, "pad", None) or _sides(getattr(a, "padding", 0)))
    if getattr(a, "mode", "constant") != "constant" or a.__dict__.get("value") or min(around) < 0:
        raise refusal(node, "pads by other things than zeros, for which coc has no TFLite")
    pairs = [(0, 0)] * len(a.x.order)
    for place in range(len(around) // 2):
        pairs[-1 - place] = (around[2 * place], around[2 * place + 1])
    shape = scope.shape(node.name)
    pads = scope.model.constant([pairs[dim] for dim in a.x.order])
    return scope.moved(a.x, "PAD", [pads], tuple(shape[dim] for dim in a.x.order), "PadOptions")


def _sides(padding: Any) -> tuple[int, ...]:
    return tuple(padding) if isinstance(padding, tuple | list) else (padding,) * 4


@emits("interpolate", "upsample", "upsamplingnearest2d")
def _resize(scope: Scope, node: Operation, a: Any) -> Held:
    held, shape = scope.ordered(a.x, MAP), scope.shape(node.name)
    is_whole = all(new % old == 0 for new, old in zip(shape[2:], _dims(scope, held)[2:], strict=True))
    if getattr(a, "mode", "nearest") != "nearest" or not is_whole:
        raise refusal(node, "does not repeat pixels, for which coc has no TFLite")
    size, lies = scope.model.constant(shape[2:]), tuple(shape[dim] for dim in MAP)
    return scope.moved(held, "RESIZE_NEAREST_NEIGHBOR", [size], lies, "ResizeNearestNeighborOptions")
