"""The rows of a csv file, and every one that is wrong. No torch here."""

from __future__ import annotations

import csv
import math
import os
from collections import Counter
from collections.abc import Iterator
from io import TextIOWrapper
from itertools import islice, zip_longest
from pathlib import Path
from stat import S_ISREG
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from coc_cli.data.splits import SPLITS, TEST, TRAIN, VALIDATION
from coc_cli.errors import StageError
from coc_cli.files import budget
from coc_cli.files.opening import open_regular
from coc_cli.units import clipped, counted, named

NOTED = 100  # rows of one fault that are kept to be named; the others are counted
Row: TypeAlias = tuple[int, dict[str, str], bool]  # line, fields, and whether there are more fields than columns


def read_table(path: Path) -> tuple[list[str], list[Row]]:
    """Return a table's column names and its rows that are not empty; raises `StageError`."""
    try:
        with TextIOWrapper(open_regular(path, budget.CSV_BYTES), newline="", encoding="utf-8-sig") as file:
            numbered = _bounded_rows(file)
            columns = [name.strip() for name in next(numbered, (0, []))[1]]
            most = min(budget.ENTRIES, budget.CSV_CELLS // max(1, len(columns)))
            filled = ((line, fields[: len(columns) + 1]) for line, fields in numbered if fields)
            rows = list(islice(filled, most + 1))
        if len(rows) > most:
            what = f"'{path}' has more than {most:,} rows of {counted(len(columns), 'column')}, which is too much"
            raise StageError(f"{what}; keep only the columns that the recipe names", "source")
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise StageError(f"'{path}' cannot be read as a csv: {error}", "source") from error
    return columns, [
        (line, dict(zip_longest(columns, fields[: len(columns)], fillvalue="")), len(fields) > len(columns))
        for line, fields in rows
    ]


def _bounded_rows(file: TextIOWrapper) -> Iterator[tuple[int, list[str]]]:
    """Yield each row with its line; raises `csv.Error` before a row of too many characters is taken apart."""
    left = budget.ROW_CHARACTERS

    def lines() -> Iterator[str]:
        nonlocal left
        while line := file.readline(left + 1):
            left -= len(line)
            if left < 0:
                raise csv.Error(f"line {reader.line_num + 1}: a row has more than {budget.ROW_CHARACTERS:,} characters")
            yield line

    reader = csv.reader(lines())
    for fields in reader:
        left = budget.ROW_CHARACTERS
        yield reader.line_num, fields


class CsvTable:
    """The rows of a csv, and all that is wrong in the columns read so far, by key and kind."""

    def __init__(self, path: Path, rows: list[Row]) -> None:
        self.path, self.rows = path, rows
        self.wrong: dict[tuple[str, str], list[str]] = {}
        self.counts: Counter[tuple[str, str]] = Counter()
        self.repeats: list[tuple[str, str]] = []
        for line, fields, is_long in rows:
            if is_long:
                self._note("source", "more fields than columns", line, next(iter(fields.values())))

    def _note(self, key: str, kind: str, line: int, text: str) -> None:
        self.counts[key, kind] += 1
        if self.counts[key, kind] <= NOTED:
            self.wrong.setdefault((key, kind), []).append(f"line {line} ('{clipped(text)}')")

    def problems(self) -> list[tuple[str, str]]:
        """Return all problems noted so far, each with its key in the recipe's `data`."""
        by_kind = [
            (key, f"{self.path}: {kind} in {counted(total, 'row')}: {named(self.wrong[key, kind], total=total)}")
            for (key, kind), total in self.counts.items()
        ]
        return by_kind + self.repeats

    def files(self, column: str) -> tuple[tuple[str, ...], tuple[tuple[int, ...], ...]]:
        """Return the images' names and stamps (size and time); notes names that are no files."""
        stamps = []
        for line, row, _ in self.rows:
            try:
                status = (self.path.parent / row[column]).stat()
            except (OSError, ValueError):
                status = None
            if status is None or not S_ISREG(status.st_mode):
                self._note("image", "no such image", line, row[column])
            else:
                stamps.append((status.st_size, status.st_mtime_ns))
        return tuple(row[column] for _, row, _ in self.rows), tuple(stamps)

    def groups(self, column: str) -> tuple[str, ...]:
        """Return the group of each row [N]; notes rows without one."""
        for line, row, _ in self.rows:
            if not row[column].strip():
                self._note("group", f"no {column}", line, row[column])
        return tuple(row[column].strip() for _, row, _ in self.rows)

    def splits(self, column: str | None) -> NDArray[np.int8]:
        """Return the split of each row [N], TRAIN without a column; notes words that name none."""
        splits = np.full(len(self.rows), TRAIN, dtype=np.int8)
        for index, (line, row, _) in enumerate(self.rows if column else []):
            word = row[column or ""].strip()
            if word.lower() not in SPLITS:
                self._note("split", "no split (train, validation or test)", line, word)
            else:
                splits[index] = SPLITS[word.lower()]
        return splits

    def note_repeats(self, names: tuple[str, ...], splits: NDArray[np.int8], *, has_splits: bool) -> None:
        """Note images in several rows, if these are in different splits or a cut could put them there."""
        cuts = not all((splits == split).any() for split in (VALIDATION, TEST))
        across, within = [], []
        for rows in self._rows_of_repeated(names):
            image = f"{names[rows[0]]} (lines {named([str(self.rows[index][0]) for index in rows], 3)})"
            if len(set(splits[rows].tolist())) > 1:
                across.append(image)
            elif cuts and splits[rows[0]] == TRAIN:
                within.append(image)
        if across:
            what = f"{self.path}: {counted(len(across), 'image')} in more than one split: {named(across)}"
            self.repeats.append(("split" if has_splits else "image", what))
        if within:
            what = f"{self.path}: {counted(len(within), 'image')} in several rows, which may be cut into two splits"
            self.repeats.append(("image", f"{what}: {named(within)}; keep one row of each"))

    def _rows_of_repeated(self, names: tuple[str, ...]) -> list[list[int]]:
        """Return, for each image that several rows name, the indices of these rows."""
        places: dict[str, list[int]] = {}
        for index, name in enumerate(names):
            places.setdefault(os.path.normpath(self.path.parent / name), []).append(index)
        return [rows for rows in places.values() if len(rows) > 1]

    def classes(self, column: str) -> tuple[NDArray[np.int64], tuple[str, ...]]:
        """Return the class of each row [N] and the classes' names; notes rows without one."""
        words = [row[column].strip() for _, row, _ in self.rows]
        for word, (line, row, _) in zip(words, self.rows, strict=True):
            if not word:
                self._note("label", f"no {column}", line, row[column])
        labels = tuple(sorted(set(words), key=_by_number))
        index = {label: i for i, label in enumerate(labels)}
        return np.array([index[word] for word in words], dtype=np.int64), labels

    def numbers(self, columns: tuple[str, ...]) -> NDArray[np.float64]:
        """Return the numbers of each row [N, T]; notes what is none, or none that 32 bits hold."""
        numbers = np.zeros((len(self.rows), len(columns)))
        for index, (line, row, _) in enumerate(self.rows):
            for place, column in enumerate(columns):
                numbers[index, place] = _number(row[column])
                if not abs(numbers[index, place]) <= np.finfo(np.float32).max:
                    self._note("targets", f"no number for {column}", line, row[column])
        return numbers


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return math.nan


def _by_number(label: str) -> tuple[bool, int, str, str]:
    """Return a key that sorts '2' before '10', and numbers before words."""
    digits = label.lstrip("0") if label.isascii() and label.isdigit() else None
    return (digits is None, len(digits or ""), digits or "", label)
