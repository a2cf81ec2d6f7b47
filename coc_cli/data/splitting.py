"""Cutting one split off another, class by class, by a seed; numpy only."""

from __future__ import annotations

from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from coc_cli.data.splits import TEST, TRAIN, VALIDATION
from coc_cli.units import counted, named

Rows: TypeAlias = NDArray[np.int64]


def amount(n: int, fraction: float, classes: int) -> int:
    """Return how many of n images a cut takes: that fraction, rounded, but at least one of each class."""
    return max(int(fraction * n + 0.5), classes, 1)


def stratified(labels: NDArray[np.int64], total: int, leave: int) -> Rows:
    """Return how many images of each class make up `total`: in proportion, at least one where the total allows.

    `leave` images of each class are not taken, even if that makes fewer than `total`.
    """
    sizes = np.bincount(labels)
    highest = np.maximum(0, sizes - leave)
    total = min(total, int(highest.sum()))
    proportional = sizes * (total / len(labels))
    lowest = np.minimum(1, highest) if total >= (highest > 0).sum() else np.zeros_like(sizes)
    counts = np.clip(proportional.astype(np.int64), lowest, highest)
    while counts.sum() < total:
        counts[np.where(counts < highest, proportional - counts, -np.inf).argmax()] += 1
    while counts.sum() > total:
        counts[np.where(counts > lowest, counts - proportional, -np.inf).argmax()] -= 1
    return counts


def draw(
    rows: Rows, labels: NDArray[np.int64] | None, total: int, seed: list[int], *, leave: int = 0
) -> tuple[Rows, Rows]:
    """Split rows [N] with labels [N] into the rest and `total` drawn ones, both in order; see `stratified`."""
    labels = np.zeros(len(rows), dtype=np.int64) if labels is None else labels
    # Ranks of uniform numbers instead of a permutation: numpy keeps that stream the same in every version.
    order = np.random.Generator(np.random.PCG64(seed)).random(len(rows)).argsort(kind="stable")
    is_drawn = np.zeros(len(rows), dtype=bool)
    for label, count in enumerate(stratified(labels, total, leave)):
        is_drawn[order[labels[order] == label][:count]] = True
    return rows[~is_drawn], rows[is_drawn]


def cut_all(
    splits: NDArray[np.int8],
    classes: NDArray[np.int64] | None,
    *,
    validation: float,
    test: float,
    seed: int,
    limits: tuple[int | None, ...] = (None, None, None),
) -> tuple[Rows, Rows, Rows]:
    """Return the rows of train, validation and test.

    `splits` [N] holds the splits that the source assigns; those that it does not have are cut from train. `classes` [N]
    is None for regression. Train is in random order, so that any part of it holds all classes; the others ascend.
    """
    parts: list[Rows] = [np.flatnonzero(splits == split) for split in (TRAIN, VALIDATION, TEST)]
    missing = [cut for cut in ((TEST, test), (VALIDATION, validation)) if not len(parts[cut[0]])]
    for done, (split, fraction) in enumerate(missing):
        rows = parts[TRAIN]
        labels = None if classes is None else classes[rows]
        total = amount(len(rows), fraction, 0 if labels is None else len(np.unique(labels)))
        parts[TRAIN], parts[split] = draw(rows, labels, total, [seed, split], leave=len(missing) - done)
    for split, (rows, limit) in enumerate(zip(parts, limits, strict=True)):
        if limit is not None and len(rows) > limit:
            labels = None if classes is None else classes[rows]
            parts[split] = draw(rows, labels, limit, [seed, split, limit])[1]
    order = np.random.Generator(np.random.PCG64([seed, TRAIN])).random(len(parts[TRAIN])).argsort(kind="stable")
    return parts[TRAIN][order], parts[VALIDATION], parts[TEST]


def scarce(splits: NDArray[np.int8], classes: NDArray[np.int64] | None, labels: tuple[str, ...]) -> list[str]:
    """Return what is wrong if classes have too few training images to cut the missing splits from."""
    needed = 1 + (not (splits == VALIDATION).any()) + (not (splits == TEST).any())
    rows = splits == TRAIN
    if classes is None:
        return [] if rows.sum() >= needed else [f"{counted(int(rows.sum()), 'image')} to train on are too few to split"]
    sizes = np.bincount(classes[rows], minlength=len(labels))
    few = [f"'{name}' ({size})" for name, size in zip(labels, sizes, strict=True) if 0 < size < needed]
    what = f"too few images to train on and to cut splits from, each needs {needed}"
    return [f"{counted(len(few), 'class')} with {what}: {named(few)}"] if few else []
