"""What moves values about in ONNX, codes too."""

from __future__ import annotations

from typing import Any

import numpy as np

from coc_cli.errors import StageError
from coc_cli.runtime.graph import Operation, PerImage
from coc_cli.runtime.writers.onnx_emitters import emits, shape_of
from coc_cli.runtime.writers.onnx_scope import Scope


@emits("flatten", "reshape", "unflatten", "squeeze", "unsqueeze")
def _reshape(s: Scope, node: Operation, a: Any) -> str:
    value = s.value(node.name)
    if value.rows > 1 and value.shape == ():
        raise StageError(f"'{node.name}' mixes images, which a runtime cannot", "to")
    return s.reshaped(a.x, value)


@emits("permute")
def _permute(s: Scope, _: Operation, a: Any) -> str:
    return s.op("Transpose", [a.x], perm=[dim % len(a.dims) for dim in a.dims])


@emits("transpose")
def _transpose(s: Scope, node: Operation, a: Any) -> str:
    order = list(range(len(shape_of(s, node))))
    order[a.dim0], order[a.dim1] = order[a.dim1], order[a.dim0]
    return s.op("Transpose", [a.x], perm=order)


@emits("movedim")
def _movedim(s: Scope, node: Operation, a: Any) -> str:
    rank = len(shape_of(s, node))
    order = [dim for dim in range(rank) if dim != a.source % rank]
    order.insert(a.destination % rank, a.source % rank)
    return s.op("Transpose", [a.x], perm=order)


@emits("cat")
def _cat(s: Scope, _: Operation, a: Any) -> str:
    return s.op("Concat", list(a.tensors), axis=a.dim)


@emits("stack")
def _stack(s: Scope, _: Operation, a: Any) -> str:
    return s.op("Concat", [s.op("Unsqueeze", [x, s.ints(a.dim)]) for x in a.tensors], axis=a.dim)


@emits("chunk", "split")
def _split(s: Scope, node: Operation, a: Any) -> list[str]:
    length = shape_of(s, node)[a.dim]
    size = getattr(a, "split_size", None) or -(-length // a.chunks)
    if isinstance(size, tuple | list):
        sizes = list(size)
    else:
        sizes = [min(size, length - start) for start in range(0, length, size)]
    return s.ops("Split", [a.x, s.ints(*sizes)], len(sizes), axis=a.dim)


@emits("unbind")
def _unbind(s: Scope, node: Operation, a: Any) -> list[str]:
    length = shape_of(s, node)[a.dim]
    parts = s.ops("Split", [a.x, s.ints(*[1] * length)], length, axis=a.dim)
    return [s.op("Squeeze", [part, s.ints(a.dim)]) for part in parts]


@emits("select")
def _select(s: Scope, _: Operation, a: Any) -> str:
    return s.op("Gather", [a.x, s.constant(a.index, np.int64)], axis=a.dim)


@emits("getitem")
def _getitem(s: Scope, node: Operation, a: Any) -> Any:
    if isinstance(a.x, tuple | list):
        return a.x[a.index]
    index = a.index if isinstance(a.index, tuple) else (a.index,)
    rank = len(shape_of(s, node))
    taken = sum(part is not None and part is not ... for part in index)
    full = [part for one in index for part in ([slice(None)] * (rank - taken) if one is ... else [one])]
    x, axis = a.x, 0
    for part in full:
        if part is None:
            x, axis = s.op("Unsqueeze", [x, s.ints(axis)]), axis + 1
        elif isinstance(part, int):
            x = s.op("Gather", [x, s.constant(part, np.int64)], axis=axis)
        elif isinstance(part, slice):
            bounds = (part.start, part.stop, part.step)
            if any(bound is not None and not isinstance(bound, PerImage) for bound in bounds):
                stop = np.iinfo(np.int64).max if part.stop is None else part.stop
                x = s.op("Slice", [x, *(s.ints(value) for value in (part.start or 0, stop, axis, part.step or 1))])
            axis += 1
        else:
            raise StageError(f"'{node.name}' takes elements by a tensor, for which coc has no ONNX yet", "to")
    return x


@emits("narrow")
def _narrow(s: Scope, _: Operation, a: Any) -> str:
    return s.op("Slice", [a.x, s.ints(a.start), s.ints(a.start + a.length), s.ints(a.dim)])


@emits("expand", "expand_as", "repeat", "tile")
def _expand(s: Scope, node: Operation, a: Any) -> str:
    value = s.value(node.name)
    if node.kind in ("repeat", "tile"):
        counts = getattr(a, "sizes", None) or a.dims
        if value.rows == 0:
            return s.op("Tile", [a.x, s.ints(*counts)])
        first = s.images() if isinstance(counts[0], PerImage) else s.ints(counts[0])
        return s.op("Tile", [a.x, s.op("Concat", [first, s.ints(*counts[1:])], axis=0)])
    return s.op("Expand", [a.x, s.shape_of(value)])


@emits("channel_shuffle", "channelshuffle")
def _shuffle(s: Scope, node: Operation, a: Any) -> str:
    _, channels, *size = shape_of(s, node)
    x = s.op("Reshape", [a.x, s.ints(-1, a.groups, channels // a.groups, *size)])
    x = s.op("Transpose", [x], perm=[0, 2, 1, *range(3, 3 + len(size))])
    return s.op("Reshape", [x, s.ints(-1, channels, *size)])


@emits("pixel_shuffle", "pixelshuffle")
def _pixel_shuffle(s: Scope, _: Operation, a: Any) -> str:
    return s.op("DepthToSpace", [a.x], blocksize=a.upscale_factor, mode="CRD")
