"""A .npz file of images and targets: opened, checked, and nothing in it believed or run."""

from __future__ import annotations

import math
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from coc_cli.errors import StageError, first_line
from coc_cli.files import budget
from coc_cli.files.opening import open_regular, zip_entries

SPLITS = ("train", "validation", "test")
TOGETHER = ("images", "targets")
LABELS = "labels"
SUFFIX = ".npy"
IMAGE_DIMENSIONS, CHANNELS = 4, (1, 3)
LARGEST_TARGETS = 1 << 26  # bytes, however well they are compressed
MOST_NAMED = 8  # arrays, in a message


@dataclass(frozen=True)
class ArrayFile:
    """What a file holds; images uint8 [N, C, H, W], all splits one after another."""

    images: NDArray[np.uint8]
    targets: NDArray[Any]  # classes int64 [N], or numbers float32 [N, T]
    splits: NDArray[np.int8]  # [N], which split each image is of; without splits all are to train on
    labels: tuple[str, ...]

    @property
    def task(self) -> Literal["classification", "regression"]:
        """Classification where the targets are classes."""
        return "classification" if self.targets.ndim == 1 else "regression"

    @property
    def classes(self) -> NDArray[np.int64] | None:
        """The classes [N], if there are any."""
        return self.targets if self.task == "classification" else None


def read_array_file(path: Path) -> ArrayFile:
    """Read a .npz; raises `StageError` with what is wrong with it."""
    try:
        arrays = _arrays(path)
    except (OSError, ValueError, zipfile.BadZipFile, EOFError, MemoryError, zipfile.error) as error:
        text = getattr(error, "strerror", None) or first_line(error)
        raise StageError(f"'{path}' is no .npz of arrays, or damaged: {text}", "source") from error
    pairs = _pairs(arrays)
    for images_name, targets_name in pairs.values():
        _check_pair(images_name, arrays[images_name], targets_name, arrays[targets_name])
    images, targets = ([arrays[pair[place]] for pair in pairs.values()] for place in (0, 1))
    if len({one.shape[1:] for one in images}) > 1 or len({(one.dtype.kind, one.shape[1:]) for one in targets}) > 1:
        raise StageError("its splits have images or targets of different shapes", "source")
    codes = np.repeat([max(0, (*SPLITS, "").index(split)) % len(SPLITS) for split in pairs], list(map(len, images)))
    joined = np.concatenate(targets)
    if joined.dtype.kind == "f":
        joined = joined.reshape(len(joined), -1).astype(np.float32)
        labels = _labels(arrays.get(LABELS), joined.shape[1])
    else:
        labels = _class_labels(arrays.get(LABELS), joined)
        joined = joined.astype(np.int64)
    whole = images[0] if len(images) == 1 else np.concatenate(images)
    return ArrayFile(whole, joined, codes.astype(np.int8), labels)


def _arrays(path: Path) -> dict[str, NDArray[Any]]:
    """Return the arrays that count; sizes are compared with what is there before memory is taken."""
    known = {*TOGETHER, LABELS, *(f"{split}_{name}" for split in SPLITS for name in TOGETHER)}
    entries = {entry.filename.removesuffix(SUFFIX): entry for entry in zip_entries(path)}
    if not known & set(entries):
        raise StageError(f"needs {_needed()}; it has {_named(entries)}", "source")
    with open_regular(path, budget.CHECKPOINT_BYTES) as file, zipfile.ZipFile(file) as archive:
        return {name: _array(archive, entry) for name, entry in entries.items() if name in known}


def _array(archive: zipfile.ZipFile, entry: zipfile.ZipInfo) -> NDArray[Any]:
    small = LARGEST_TARGETS if "targets" in entry.filename else budget.SMALL_BYTES  # sorted classes are stored small
    is_bomb = entry.file_size > max(small, budget.EXPANSION * entry.compress_size)
    if is_bomb or entry.file_size > budget.CHECKPOINT_BYTES:
        raise ValueError(f"'{entry.filename}' is {entry.file_size:,} bytes out of {entry.compress_size:,}, too large")
    with archive.open(entry) as file:
        version = npy.read_magic(file)
        read_header = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
        shape, is_fortran, dtype = read_header(file)
        if dtype.hasobject:
            raise ValueError(f"'{entry.filename}' holds Python objects, which are not read")
        if math.prod(shape) * dtype.itemsize != entry.file_size - file.tell():
            raise ValueError(f"'{entry.filename}' has another size than its header says")
        array = np.frombuffer(bytearray(file.read()), dtype)  # one that may be written to, as torch wants
    return np.ascontiguousarray(array.reshape(shape, order="F" if is_fortran else "C"))


def _needed() -> str:
    return "'images' and 'targets', or 'train_images' and 'train_targets' and so on"


def _named(names: Mapping[str, Any]) -> str:
    return ", ".join(list(names)[:MOST_NAMED]) or "nothing"


def _pairs(arrays: Mapping[str, Any]) -> dict[str, tuple[str, str]]:
    """Return the names of images and targets by split; '' for arrays that are not split."""
    by_split = {split: (f"{split}_images", f"{split}_targets") for split in SPLITS}
    halves = [name for pair in by_split.values() if len(set(pair) & set(arrays)) == 1 for name in pair]
    there = {split: pair for split, pair in by_split.items() if set(pair) <= set(arrays)}
    together = set(TOGETHER) & set(arrays)
    if not halves and len(together) == len(TOGETHER) and not there:
        return {"": TOGETHER}
    if not halves and "train" in there and not together:
        return there
    raise StageError(f"needs {_needed()}; it has {_named(arrays)}", "source")


def _check_pair(images_name: str, images: NDArray[Any], targets_name: str, targets: NDArray[Any]) -> None:
    is_image = images.dtype == np.uint8 and images.ndim == IMAGE_DIMENSIONS and images.shape[1] in CHANNELS
    if not is_image or not images.size:
        got = f"{images.dtype} {list(images.shape)}"
        raise StageError(f"'{images_name}' must be uint8 [N, C, H, W] with C 1 or 3, is {got}", "source")
    is_class = targets.dtype.kind in "iu" and targets.ndim == 1
    is_number = targets.dtype.kind == "f" and targets.ndim in (1, 2)
    if not (is_class or is_number) or not targets.size or not _fits(targets):
        got = f"{targets.dtype} {list(targets.shape)}"
        what = f"'{targets_name}' must be classes, integers [N], or finite floats [N] or [N, T]; is {got}"
        raise StageError(what, "source")
    if len(targets) != len(images):
        raise StageError(f"'{targets_name}' has {len(targets)} rows for {len(images)} images", "source")


def _fits(targets: NDArray[Any]) -> bool:
    """Return whether numbers are finite, also as float32."""
    return targets.dtype.kind in "iu" or bool((abs(targets) <= np.finfo(np.float32).max).all())


def _class_labels(given: NDArray[Any] | None, classes: NDArray[Any]) -> tuple[str, ...]:
    low, high = int(classes.min()), int(classes.max())
    size = len(given) if given is not None and given.ndim == 1 else high + 1
    if low < 0 or high >= size or high >= len(classes):
        raise StageError(f"classes must be numbered from 0 to {size - 1}, they are {low} to {high}", "source")
    if empty := sorted(set(range(size)) - set(classes.tolist())):
        raise StageError(f"class {empty[0]} of {size} has no image", "source")
    return _labels(given, size)


def _labels(given: NDArray[Any] | None, size: int) -> tuple[str, ...]:
    if given is None:
        return tuple(map(str, range(size)))
    names = tuple(given.tolist()) if given.dtype.kind == "U" and given.ndim == 1 else ()
    if len(names) != size or len(set(names)) != size or not all(names):
        raise StageError(f"'{LABELS}' must be {size} different texts, one for each class or target", "source")
    return names
