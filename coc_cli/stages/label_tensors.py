"""Tensors of labels: where all labels along a dimension are equal they lie in memory once, with stride 0."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


def compact(labels: Tensor) -> Tensor:
    """Return equal labels with stride 0 along each dimension along which they do not vary."""
    for dim in reversed(range(labels.dim())):
        if labels.shape[dim] > 1 and labels.stride(dim):
            first = labels.narrow(dim, 0, 1)
            if torch.equal(labels, first.expand_as(labels)):
                labels = first.expand(labels.shape)
    return labels


def varies(labels: Tensor, dim: int) -> bool:
    """Return whether labels differ along a dimension."""
    return labels.shape[dim] > 1 and labels.stride(dim) != 0


def narrowed(*tensors: Tensor, but: int | None = None) -> list[Tensor]:
    """Return tensors of one shape without what repeats in all of them; dimension `but` stays whole."""
    kept = list(tensors)
    for dim in range(tensors[0].dim()):
        if dim != but and tensors[0].shape[dim] > 1 and not any(tensor.stride(dim) for tensor in tensors):
            kept = [tensor.narrow(dim, 0, 1) for tensor in kept]
    return kept


def distinct(labels: Tensor) -> Tensor:
    """Return the labels of a tensor, sorted, without 0."""
    found: Tensor = narrowed(labels)[0].unique()
    return found[found != 0]


def joined(tensors: list[Tensor], dim: int) -> Tensor:
    """Return `torch.cat`; what repeats in all of them is not copied."""
    tensors = [tensor for tensor in tensors if tensor.shape != (0,)]
    dim %= tensors[0].dim()
    shape = list(tensors[0].shape)
    if any(len(tensor.shape) != len(shape) for tensor in tensors):
        return torch.cat(tensors, dim)  # which says what is wrong
    for other in (other for other in range(len(shape)) if other != dim):
        if len({tensor.shape[other] for tensor in tensors}) > 1:
            return torch.cat(tensors, dim)
        if not any(tensor.stride(other) for tensor in tensors):
            tensors = [tensor.narrow(other, 0, 1) for tensor in tensors]
    shape[dim] = sum(tensor.shape[dim] for tensor in tensors)
    return torch.cat(tensors, dim).expand(shape)


def padded(labels: Tensor, pads: Sequence[int]) -> Tensor:
    """Return labels padded as by `F.pad`: with what repeats along that dimension, and with 0 where labels vary."""
    for back, (before, after) in enumerate(zip(pads[::2], pads[1::2], strict=True)):
        dim = labels.dim() - 1 - back
        labels = labels.narrow(dim, max(0, -before), labels.shape[dim] + min(0, before) + min(0, after))
        edge = labels.narrow(dim, 0, 1)
        fill = torch.zeros_like(edge) if varies(labels, dim) else edge
        shapes = [[*labels.shape[:dim], max(0, size), *labels.shape[dim + 1 :]] for size in (before, after)]
        labels = joined([fill.expand(shapes[0]), labels, fill.expand(shapes[1])], dim)
    return labels


def keeps_dimensions(labels: Tensor, shape: Sequence[int]) -> bool:
    """Return whether a reshape splits no dimension along which labels vary: it only merges, or splits others."""
    sizes, dims = list(shape), list(range(labels.dim()))
    at = 0
    while dims:
        block, size = [dims.pop(0)], labels.shape[0]
        size = labels.shape[block[0]]
        parts = 1
        goal = sizes[at] if at < len(sizes) else 1
        at += 1
        while size != goal:
            if size < goal:
                block.append(dims.pop(0))
                size *= labels.shape[block[-1]]
            else:
                goal *= sizes[at]
                parts += sizes[at] > 1
                at += 1
        if parts > 1 and any(varies(labels, dim) for dim in block):
            return False
    return True
