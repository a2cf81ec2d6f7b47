"""A table of images with their classes or numbers, one a row. No torch here."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from coc_cli.data.settings import DataSettings
from coc_cli.data.sources.listed import ListedSource
from coc_cli.data.sources.source import COMMON_KEYS, KeyFault
from coc_cli.data.splits import TRAIN
from coc_cli.errors import StageError, at_key, did_you_mean, raise_if_any
from coc_cli.files.opening import is_file
from coc_cli.units import clipped, repeated

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from coc_cli.data.listing import Listing
    from coc_cli.data.table import CsvTable

IMAGE = "image"  # the column with the images' paths, by default
NUMBER = re.compile(r"[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?")  # as a cell of data has it
MAX_LOSS = 1e-6  # of the spread of a target, by rounding to 32 bits


class Csv(ListedSource):
    """A table of images, with a column of classes or columns of numbers."""

    name = "csv"
    summary = "a table of images, one a row, with their classes or the numbers to predict"
    place = "PATH"
    takes = (*COMMON_KEYS, "test", "image", "label", "targets", "split", "classes", "group")

    def place_fault(self, place: str) -> str | None:
        """Return a fault if there is no such file."""
        return None if Path(place).is_file() else f"no such file '{Path(place)}'"

    def faults(self, settings: DataSettings) -> Iterator[KeyFault]:
        """Yield the faults of any source, and one unless exactly one of classes and numbers is named."""
        if (settings.label is None) == (settings.targets is None):
            yield (), "needs exactly one of 'label' (classification) and 'targets' (regression)"
        elif settings.label is None and settings.classes is not None:
            yield ("classes",), "is of a 'label'; leave it out, the targets are numbers"
        yield from super().faults(settings)

    def listing(self, settings: DataSettings) -> Listing:
        """List the images of a table, one a row; raises `StageError` with every row that is wrong."""
        from coc_cli.data.listing import Listing
        from coc_cli.data.table import CsvTable, read_table

        path = Path(settings.place)
        columns, rows = read_table(path)
        raise_if_any(_column_problems(path, columns, _requested_columns(settings)))
        if not rows:
            raise StageError(f"'{path}' has no rows", "source")
        table, has_splits = CsvTable(path, rows), settings.split is not None
        names, stamps = table.files(settings.image or IMAGE)
        splits = table.splits(settings.split)
        groups = None if settings.group is None else table.groups(settings.group)
        table.note_repeats(names, splits, has_splits=has_splits)
        if settings.label is None:
            targets, labels = _numbers(table, settings.target_columns, splits)
        else:
            targets, labels = _classes(table, settings.label, splits, has_splits=has_splits)
        return Listing(path.parent, names, stamps, splits, targets, labels, groups, _header_notes(path, settings))


def _requested_columns(settings: DataSettings) -> list[tuple[str, str]]:
    """Return the columns that settings name, each with its key."""
    columns = (
        ("image", settings.image or IMAGE),
        ("label", settings.label),
        ("split", settings.split),
        ("group", settings.group),
        *(("targets", column) for column in settings.target_columns),
    )
    return [(key, column) for key, column in columns if column is not None]


def _numbers(
    table: CsvTable, columns: tuple[str, ...], splits: NDArray[np.int8]
) -> tuple[NDArray[np.float32], tuple[str, ...]]:
    """Return the targets float32 [N, T] and their names; raises `DataError` with all that is wrong with the table."""
    from coc_cli.data.splitting import scarce

    numbers = table.numbers(columns)
    raise_if_any(table.problems())
    problems = at_key("targets", _target_problems(numbers[splits == TRAIN], columns))
    raise_if_any(problems + at_key("source", scarce(splits, None, columns)))
    return numbers.astype("float32"), columns


def _classes(
    table: CsvTable, column: str, splits: NDArray[np.int8], *, has_splits: bool
) -> tuple[NDArray[Any], tuple[str, ...]]:
    """Return the classes int64 [N] and their names; raises `DataError` with all that is wrong with the table."""
    from coc_cli.data.listing import class_problems
    from coc_cli.data.splitting import scarce

    classes, labels = table.classes(column)
    raise_if_any(table.problems())
    problems = class_problems(splits, classes, labels, has_splits=has_splits)
    raise_if_any(at_key("label", problems + scarce(splits, classes, labels)))
    return classes, labels


def _column_problems(path: Path, columns: list[str], requested: list[tuple[str, str]]) -> list[tuple[str, str]]:
    """Return which columns are missing or repeated, each with the key that names it."""
    if not any(columns):
        return [("source", f"'{path}' is empty; its first line has to name the columns")]
    other = next((mark for mark in (";", "\t", "|") if len(columns) == 1 and mark in columns[0]), None)
    if other:
        separator = "tabs" if other == "\t" else f"'{other}'"
        return [("source", f"'{path}' has one column, '{columns[0]}'; is it separated by {separator}? It needs commas")]
    twice = repeated(filter(None, columns))
    missing = [(key, column) for key, column in requested if column not in columns]
    names = [name for name in columns if name]
    if missing and (cell := _data_cell(path, columns)):
        return [
            ("source", f"'{path}' has no header, it seems: its first line holds {cell}, but has to name the columns")
        ]
    return [
        *(("source", f"'{path}' has the column '{name}' more than once") for name in twice),
        *((key, f"'{path}' has no column '{column}'; {did_you_mean(column, names)}") for key, column in missing),
    ]


def _data_cell(path: Path, columns: Iterable[str]) -> str | None:
    """Return the first name of a column that looks like data, and as what: the name of a file, or a number."""
    for name in filter(None, columns):
        if is_file(path.parent / name):
            return f"'{clipped(name)}', which is a file"
        if NUMBER.fullmatch(name):
            return f"'{clipped(name)}', a number"
    return None


def _header_notes(path: Path, settings: DataSettings) -> tuple[str, ...]:
    """Return a note if the columns that settings name look like data, as of a table without a header."""
    cell = _data_cell(path, (column for _, column in _requested_columns(settings)))
    what = f"the first line of '{path}' names the columns, and one is called {cell}"
    return (f"{what}; if it has no header, add one, or an image is left out",) if cell else ()


def _target_problems(numbers: NDArray[np.float64], columns: tuple[str, ...]) -> list[str]:
    """Return which columns of training targets [N, T] cannot be learnt as 32-bit numbers."""
    if len(numbers) < 2:  # noqa: PLR2004  (too few to tell; that is said elsewhere)
        return []
    spread = numbers.max(0) - numbers.min(0)
    lost = abs(numbers - numbers.astype("float32")).max(0)
    problems = []
    for place, column in enumerate(columns):
        if not spread[place]:
            problems.append(f"'{column}' is {numbers[0, place]:g} for every training image; there is nothing to learn")
        elif lost[place] > MAX_LOSS * spread[place]:
            what = f"'{column}' varies too little for its size to be kept in 32 bits"
            problems.append(f"{what}; subtract an offset such as {numbers[0, place]:.12g}")
    return problems
