"""The kinds of data sources, by name, and what a recipe's `data` section requests of them.

A new one is a class in a file of its own and a line of import below. Importing this loads neither torch nor numpy, so that
a wrong recipe is answered at once; sources import these inside the functions that need them.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from coc_cli.data.info import DataInfo
from coc_cli.data.settings import DataSettings
from coc_cli.data.sources.source import SPLIT_KEYS, KeyFault, Source, repeats
from coc_cli.errors import StageError, did_you_mean
from coc_cli.files import budget
from coc_cli.registry import registered
from coc_cli.units import clipped

from coc_cli.data.sources.digits import Digits, RotatedDigits
from coc_cli.data.sources.folder import Folder
from coc_cli.data.sources.csv import Csv
from coc_cli.data.sources.torchvision import Torchvision
from coc_cli.data.sources.arrays import Arrays

if TYPE_CHECKING:
    from coc_cli.data.decode import Progress
    from coc_cli.data.images import Data

COLOUR = 3  # channels of images that are not there, unless the recipe says otherwise
UNKNOWN_COUNT = sys.maxsize  # of images that are not there: as many as any check may ask for
SOURCES = {name: source() for name, source in registered(vars(), Source).items()}


def source_of(settings: DataSettings) -> Source:
    """Return the source of settings without `faults`."""
    return SOURCES[settings.kind]


def form(name: str) -> str:
    """Return the form of `data.source` for a kind of source: 'digits', 'folder:PATH'."""
    return f"{_before_place(name)}{SOURCES[name].place}"


def described() -> str:
    """Return all forms of `data.source`, in one line."""
    forms = [f"{form(name)} ({source.hint})" if source.hint else form(name) for name, source in SOURCES.items()]
    return f"{', '.join(forms[:-1])} or {forms[-1]}"


def faults(settings: DataSettings, *, may_be_absent: bool = False) -> Iterator[KeyFault]:
    """Yield what is wrong with settings as such, each with its key; nothing is opened.

    With `may_be_absent` a path that is not there is none, if the settings declare what is there; see `declared`.
    """
    source = SOURCES.get(settings.kind)
    if source is None:
        yield ("source",), f"no such source '{settings.source}'; {did_you_mean(settings.source, map(form, SOURCES))}"
        yield from repeats(settings)
    else:
        what = _place_fault(source, settings, may_be_absent=may_be_absent)
        yield from [(("source",), what)] if what else []
        yield from _foreign_keys(source, settings)
        yield from source.faults(settings)


def declared(settings: DataSettings) -> DataInfo | None:
    """Return what settings without `faults` declare of data that is not there; None if it is there."""
    if not source_of(settings).is_absent(settings.place):
        return None
    height, width = settings.height_width or (0, 0)
    task: Literal["classification", "regression"] = "regression" if settings.targets else "classification"
    labels = settings.target_columns or settings.declared_labels
    return DataInfo((settings.channels or COLOUR, height, width), labels, task, None, None, UNKNOWN_COUNT)


def _undeclared(settings: DataSettings) -> list[str]:
    """Return the keys that are missing in settings by which data that is not there can be planned for."""
    labels = settings.target_columns or settings.declared_labels
    return [f"'{key}'" for key, value in (("size", settings.size), ("classes", labels)) if not value]


def describe(settings: DataSettings, seed: int = 0) -> DataInfo:
    """Describe images without decoding them.

    Args:
        settings: A recipe's `data` section, without `faults`.
        seed: Of the split.

    Returns:
        Shape, labels and task; mean and deviation only if they are known without the images.

    Raises:
        StageError: With all that is wrong with a listing.
    """
    info = source_of(settings).describe_split(settings, seed)
    if prod(info.shape) > budget.PIXEL_BYTES:
        height, width = info.shape[1:]
        raise StageError(f"images of {height}x{width} are too large; give a smaller 'size'", "size")
    return info


def read(settings: DataSettings, seed: int, *, cache: Path, progress: Progress | None = None) -> Data:
    """Read and split the images.

    Args:
        settings: A recipe's `data` section, without `faults`.
        seed: The only thing, beside the settings, on which the split depends.
        cache: The folder below which decoded images are stored, so that they are decoded once.
        progress: Called with the number of images decoded so far and their total.

    Returns:
        The splits, uint8 images [N, C, H, W] on the CPU with their targets.

    Raises:
        StageError: With every image that cannot be used.
    """
    from coc_cli.data.reading import balanced, held_out

    data = source_of(settings).read(settings, seed, cache, progress)
    return balanced(held_out(data, settings.holdout, seed), settings.balance)


def _before_place(name: str) -> str:
    return f"{name}:" if SOURCES[name].place else name


def _place_fault(source: Source, settings: DataSettings, *, may_be_absent: bool) -> str | None:
    if not source.place and ":" in settings.source:
        return f"'{settings.kind}' takes nothing behind it, got '{settings.source}'"
    if source.place and not settings.place:
        return f"'{settings.kind}' needs more: {form(settings.kind)}"
    try:
        what = source.place_fault(settings.place) if source.place else None
        if what is None or not may_be_absent or not source.is_absent(settings.place):
            return what
    except OSError as error:
        return f"'{clipped(settings.place)}' cannot be looked at: {error.strerror}"
    needs = _undeclared(settings)
    return f"{what}; to plan without it, give {' and '.join(needs)}" if needs else None


def _foreign_keys(source: Source, settings: DataSettings) -> Iterator[KeyFault]:
    """Yield the keys that are set and that only other sources take."""
    takers = {
        key: [name for name, other in SOURCES.items() if key in other.takes]
        for key, field in DataSettings.model_fields.items()
        if key not in ("source", *source.takes) and getattr(settings, key) != field.default
    }
    for key, names in sorted(takers.items(), key=lambda item: len(item[1])):  # those of a single source first
        only = " or ".join(map(_before_place, names))
        why = f"the source brings its own {key} split" if key in SPLIT_KEYS else f"only {only} has it"
        yield (key,), f"{why}; leave it out"
