"""Groups of related images, each of which stays in one split: what is wrong with them, and where they are missing."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from coc_cli.data.splits import SPLIT_NAMES, TEST, TRAIN, VALIDATION
from coc_cli.data.splitting import Rows
from coc_cli.units import counted, named

DIGITS, MARKS = "0123456789", " _-.(["
FRAMES = 3  # as many names with one text may be frames of one video
LONGEST_NUMBER = 18  # digits


def numbered(groups: Sequence[str]) -> NDArray[np.int64]:
    """Return the group of each image [N] as a number, in the order in which they come."""
    numbers: dict[str, int] = {}
    return np.array([numbers.setdefault(group, len(numbers)) for group in groups], dtype=np.int64)


def group_problems(
    splits: NDArray[np.int8], classes: NDArray[np.int64] | None, groups: Sequence[str], labels: tuple[str, ...]
) -> list[str]:
    """Return which groups lie in several splits of the source, or which classes have too few to cut splits from."""
    split_of: dict[str, set[int]] = {}
    for group, split in zip(groups, splits.tolist(), strict=True):
        split_of.setdefault(group, set()).add(split)
    across = [
        f"'{group}' ({', '.join(SPLIT_NAMES[split] for split in sorted(found))})"
        for group, found in split_of.items()
        if len(found) > 1
    ]
    if across:
        return [f"{counted(len(across), 'group')} in more than one split of the source: {named(across)}"]
    needed = 1 + (not (splits == VALIDATION).any()) + (not (splits == TEST).any())
    rows = splits == TRAIN
    numbers = np.zeros(len(splits), dtype=np.int64) if classes is None else classes
    pairs = np.unique(np.stack([numbered(groups), numbers], 1)[rows], axis=0)
    sizes = np.bincount(pairs[:, 1], minlength=1 if classes is None else len(labels))
    if classes is None:
        what = f"{counted(int(sizes[0]), 'group')} to train on and to cut splits from; needs {needed}"
        return [what] if sizes[0] < needed else []
    few = [f"'{name}' ({size})" for name, size in zip(labels, sizes, strict=True) if 0 < size < needed]
    what = f"too few groups to train on and to cut splits from, each needs {needed}"
    return [f"{counted(len(few), 'class')} with {what}: {named(few)}"] if few and needed > 1 else []


def absent_classes(parts: Sequence[Rows], classes: NDArray[np.int64], labels: tuple[str, ...]) -> list[str]:
    """Return a problem if a split lacks a class, as groups hold images of several classes."""
    absent = [
        f"'{labels[label]}' ({SPLIT_NAMES[split]})"
        for split, rows in enumerate(parts)
        for label in np.flatnonzero(np.bincount(classes[rows], minlength=len(labels)) == 0)
    ]
    what = "its groups hold other classes too, and this seed finds no cut; give another seed, or smaller groups"
    return [f"{counted(len(absent), 'class')} absent in a split: {named(absent)}; {what}"] if absent else []


def _is_even(numbers: Sequence[int]) -> bool:
    """Return whether there are numbers of frames: at least three, most of them equally far from the next."""
    _, counts = np.unique(np.diff(np.sort(numbers)), return_counts=True)
    return len(numbers) >= FRAMES and 2 * int(counts.max()) >= len(numbers) - 1


def frames_note(names: Sequence[str], parts: Sequence[Rows], labels: tuple[str, ...]) -> list[str]:
    """Return a note if most images of cut splits have names as frames of videos, spread over the splits.

    That is several names that differ in the number at their end alone, which goes on in equal steps. Text without a
    letter, or which is a class's name, only counts images.
    """
    found: dict[str, dict[int, list[str]]] = {}
    numbers: dict[str, list[int]] = {}
    for split, rows in enumerate(parts):
        for row in rows.tolist():
            stem = names[row].rpartition(".")[0]
            text = stem.rstrip(DIGITS)
            last = text.rpartition("/")[2]
            if text != stem and last.lower() != last.upper() and last.rstrip(MARKS) not in labels:
                found.setdefault(text, {}).setdefault(split, []).append(names[row])
                numbers.setdefault(text, []).append(int(stem[len(text) :][-LONGEST_NUMBER:]))
    spread = [by for text, by in found.items() if len(by) > 1 and _is_even(numbers[text])]
    total = sum(len(each) for by in spread for each in by.values())
    if not spread or 2 * total < sum(map(len, parts)):
        return []
    (one, ones), (two, twos) = sorted(spread[0].items())[:2]
    pair = f"'{min(ones)}' ({SPLIT_NAMES[one]}) and '{min(twos)}' ({SPLIT_NAMES[two]})"
    what = f"{counted(total, 'image')} of different splits have names that differ in their last number alone, as {pair}"
    return [f"{what}; if these are frames of one video, results flatter: give data.group"]
