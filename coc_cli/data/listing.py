"""Which images a source has, by name, and how they are split; nothing is decoded. No torch here."""

from __future__ import annotations

import zipfile
from collections.abc import Callable, Iterable, Sized
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from coc_cli.data.grouping import absent_classes, frames_note, group_problems, numbered
from coc_cli.data.info import DataInfo
from coc_cli.data.settings import DataSettings
from coc_cli.data.splits import SPLIT_NAMES, TEST, TRAIN, VALIDATION
from coc_cli.data.splitting import Rows, cut_all, draw_holdout
from coc_cli.errors import StageError, at_key, raise_if_any
from coc_cli.files import budget
from coc_cli.files.opening import read_bytes
from coc_cli.pixels.decoding import Unusable, shape_of
from coc_cli.units import counted, named

TEST_FRACTION = 0.2
MIN_TRAIN_IMAGES = 2  # norms need two images in a batch

Fetch: TypeAlias = Callable[[str], bytes]  # the content of a file by its name


@dataclass(frozen=True)
class Listing:
    """All images of a source in a fixed order, and the target of each."""

    container: Path  # a folder or a .zip
    names: tuple[str, ...]  # N paths in it
    stamps: tuple[tuple[int, ...], ...]  # of each, what changes when it does: size and CRC, or size and time
    splits: NDArray[np.int8]  # [N], the split that the source assigns; TRAIN where it assigns none
    targets: NDArray[Any]  # int64 [N], or float32 [N, T]
    labels: tuple[str, ...]
    groups: tuple[str, ...] | None = None  # of each image, where the settings name them
    notes: tuple[str, ...] = ()  # what a user should know

    @property
    def classes(self) -> NDArray[np.int64] | None:
        """The class of each image [N]; None for regression."""
        return self.targets if self.targets.ndim == 1 else None

    @property
    def group_numbers(self) -> NDArray[np.int64] | None:
        """The group of each image [N] as a number; None without groups."""
        return None if self.groups is None else numbered(self.groups)


def opener(container: Path) -> Fetch:
    """Return the function that reads one file of a folder or a .zip by its name; several threads may call it."""
    if container.is_dir():
        return lambda name: read_bytes(container / name, budget.FILE_BYTES)
    archive = zipfile.ZipFile(container)

    def entry(name: str) -> bytes:
        info = archive.getinfo(name)
        is_bomb = info.file_size > max(budget.SMALL_BYTES, budget.EXPANSION * info.compress_size)
        if info.file_size > budget.FILE_BYTES or is_bomb:
            raise Unusable(f"{info.file_size:,} bytes out of {info.compress_size:,}, too large")
        return archive.read(name)

    return entry


def cut_listing(listing: Listing, settings: DataSettings, seed: int, *, validation: float) -> tuple[Rows, Rows, Rows]:
    """Return the rows of train, validation and test; `validation` is the fraction to cut off if the source has none."""
    return cut_all(
        listing.splits,
        listing.classes,
        validation=validation,
        test=settings.test or TEST_FRACTION,
        limits=settings.limits,
        seed=seed,
        groups=listing.group_numbers,
    )


def describe_listing(listing: Listing, settings: DataSettings, seed: int, *, validation: float) -> DataInfo:
    """Describe the images of a listing; one is opened for its size, none is decoded. Raises `StageError`."""
    _refuse_second_splits(listing, settings)
    if wrong := [label for label in listing.labels if any("\ud800" <= sign <= "\udfff" for sign in label)]:
        raise StageError(f"{counted(len(wrong), 'class')} whose name is no UTF-8: {named(wrong)}; rename it", "source")
    if listing.groups is not None:
        problems = group_problems(listing.splits, listing.classes, listing.groups, listing.labels)
        raise_if_any(at_key("group", problems))
    parts = cut_listing(listing, settings, seed, validation=validation)
    train, valid, test = check_enough(len(listing.names), parts)
    raise_if_any(at_key("group", _grouping_problems(listing, parts, settings, seed, validation=validation)))
    return DataInfo(
        shape=_shape(listing, settings),
        labels=listing.labels,
        task="regression" if listing.classes is None else "classification",
        mean=None,
        std=None,
        validation_images=valid,
        images=train + valid + test,
        notes=(*listing.notes, *_frames_note(listing, parts)),
    )


def check_enough(images: int, parts: Iterable[Sized]) -> tuple[int, int, int]:
    """Return how many images are in train, validation and test; raises `StageError` if these are too few."""
    train, valid, test = map(len, parts)
    if train < MIN_TRAIN_IMAGES or not valid or not test:
        what = f"{counted(images, 'image')} are too few: {train} to train on, {valid} to validate"
        raise StageError(f"{what} and {test} to test; needs at least {MIN_TRAIN_IMAGES}, 1 and 1", "source")
    return train, valid, test


def _grouping_problems(
    listing: Listing, parts: tuple[Rows, Rows, Rows], settings: DataSettings, seed: int, *, validation: float
) -> list[str]:
    """Return what is wrong with splits that were cut by groups, the holdout included."""
    groups, classes = listing.group_numbers, listing.classes
    if groups is None:
        return []
    whole = cut_listing(listing, settings.model_copy(update={"limit": None}), seed, validation=validation)
    if classes is not None and (problems := absent_classes(whole, classes, listing.labels)):
        return problems
    rows = parts[TRAIN]
    labels = None if classes is None else classes[rows]
    if settings.holdout is None or len(draw_holdout(labels, settings.holdout, seed, len(rows), groups[rows])[1]):
        return []
    return ["too few groups to train on and to hold some out; leave 'holdout' out, or give smaller groups"]


def _frames_note(listing: Listing, parts: tuple[Rows, Rows, Rows]) -> list[str]:
    if listing.groups is not None or all((listing.splits == split).any() for split in (VALIDATION, TEST)):
        return []
    own = [rows[listing.splits[rows] == TRAIN] for rows in parts]  # those that coc cuts
    return frames_note(listing.names, own, listing.labels)


def _refuse_second_splits(listing: Listing, settings: DataSettings) -> None:
    """Raise `DataError` if a split is to be cut off that the source brings."""
    cuts = (("validation", settings.validation, VALIDATION), ("test", settings.test, TEST))
    both = [key for key, fraction, split in cuts if fraction is not None and (listing.splits == split).any()]
    raise_if_any([(key, f"the source brings its own {key} split; leave it out") for key in both])


def _shape(listing: Listing, settings: DataSettings) -> tuple[int, int, int]:
    """Return [C, H, W] of the settings, or else of the first image that can be opened."""
    if settings.height_width and settings.channels:
        return (settings.channels, *settings.height_width)
    channels, height, width = _first_shape(listing)
    return (settings.channels or channels, *(settings.height_width or (height, width)))


def _first_shape(listing: Listing) -> tuple[int, int, int]:
    fetch = opener(listing.container)
    for name in listing.names:
        try:
            return shape_of(fetch(name))
        except Exception:  # noqa: BLE001, S112, PERF203  (whatever a decoder raises; reading will name every broken image)
            continue
    what = f"none of {counted(len(listing.names), 'image')} can be read: {named(listing.names)}"
    raise StageError(what, "source")


def class_problems(
    splits: NDArray[np.int8], classes: NDArray[np.int64], labels: tuple[str, ...], *, has_splits: bool
) -> list[str]:
    """Return what is wrong with the classes: empty ones, by split, and fewer than two."""
    problems = []
    if len(labels) < 2:  # noqa: PLR2004
        problems.append(f"needs at least two classes, has {named(labels)}")
    empty = []
    for split in sorted({TRAIN, *splits.tolist()}):
        above = f"{SPLIT_NAMES[split]}/" if has_splits else ""
        sizes = np.bincount(classes[splits == split], minlength=len(labels))
        empty += [f"{above}{name}" for name, size in zip(labels, sizes, strict=True) if not size]
    if empty:
        problems.append(f"{counted(len(empty), 'class')} without images: {named(empty)}")
    return problems
