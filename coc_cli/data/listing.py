"""Which images a source has, by name: class folders, a .zip of them, or a table; nothing is decoded. No torch here."""

from __future__ import annotations

import csv
import math
import os
import re
import zipfile
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from errno import ENOENT
from io import BytesIO
from itertools import zip_longest
from pathlib import Path
from stat import S_ISREG
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from coc_cli.data.cut import TEST, TRAIN, VALIDATION, Rows, cut_all, scarce
from coc_cli.data.source import DataInfo, DataSettings, at, counted, named, refuse_all
from coc_cli.errors import StageError, did_you_mean

if TYPE_CHECKING:
    from PIL.Image import Image as OpenImage

ENDINGS = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".ppm", ".tif", ".tiff")
SPLITS = {
    **dict.fromkeys(("train", "training"), TRAIN),
    **dict.fromkeys(("validation", "valid", "val"), VALIDATION),
    **dict.fromkeys(("test", "testing"), TEST),
}
NEARLY_SPLITS = (*SPLITS, "dev", "eval", "trainset", "valset", "testset")  # as a name's first or last word
MOST_LOST = 1e-6  # of the spread of a target, by rounding to 32 bits
SPLIT_NAMES = ("train", "validation", "test")
TEST_SHARE = 0.2
ORIENTATION = 0x0112  # the EXIF tag
LEAST_TRAIN = 2  # norms need two images in a batch


@dataclass(frozen=True)
class Listing:
    """All images of a source in a fixed order, and what is to be learnt of each."""

    container: Path  # a folder or a .zip
    names: tuple[str, ...]  # N paths in it
    stamps: tuple[tuple[int, ...], ...]  # of each, what changes when it does: size and CRC, or size and time
    given: NDArray[np.int8]  # [N], the split that the source says; TRAIN where it says none
    targets: NDArray[Any]  # int64 [N], or float32 [N, T]
    labels: tuple[str, ...]

    @property
    def classes(self) -> NDArray[np.int64] | None:
        """The class of each image [N]; None for regression."""
        return self.targets if self.targets.ndim == 1 else None


def cut_listing(settings: DataSettings, listing: Listing, seed: int) -> tuple[Rows, Rows, Rows]:
    """Give the rows of train, validation and test in a listing."""
    return cut_all(
        listing.given,
        listing.classes,
        validation=settings.validation_share,
        test=settings.test or TEST_SHARE,
        limit=settings.limit,
        seed=seed,
    )


def describe(settings: DataSettings, listing: Listing) -> DataInfo:
    """Give what a listing tells; one image is opened for its size, none is decoded. Raises `StageError`."""
    asked = (("validation", settings.validation, VALIDATION), ("test", settings.test, TEST))
    both = [key for key, share, split in asked if share is not None and (listing.given == split).any()]
    refuse_all([(key, f"the source brings its own {key} split; leave it out") for key in both])
    train, validation, test = map(len, cut_listing(settings, listing, 0))
    if train < LEAST_TRAIN or not validation or not test:
        what = f"{counted(len(listing.names), 'image')} are too few: {train} to train on, {validation} to validate"
        raise StageError(f"{what} and {test} to test; needs at least {LEAST_TRAIN}, 1 and 1", "source")
    return DataInfo(
        shape=_shape(settings, listing),
        labels=listing.labels,
        task="regression" if listing.classes is None else "classification",
        mean=None,
        std=None,
        validation_images=validation,
    )


def _shape(settings: DataSettings, listing: Listing) -> tuple[int, int, int]:
    """Give [C, H, W]: what is asked for, else that of the first image that can be opened."""
    if settings.height_width and settings.channels:
        return (settings.channels, *settings.height_width)
    fetch = opener(listing.container)
    for name in listing.names:
        try:
            with open_image(fetch(name)) as image:
                width, height = upright(image).size
                channels = settings.channels or (1 if is_grey(image) else 3)
                return (channels, *(settings.height_width or (height, width)))
        except Exception:  # noqa: BLE001, S112, PERF203  (whatever a decoder raises; reading will name every broken image)
            continue
    raise StageError(
        f"none of {counted(len(listing.names), 'image')} can be read: {named(list(listing.names))}", "source"
    )


def open_image(content: bytes) -> OpenImage:
    """Open an image without decoding it; raises whatever Pillow raises."""
    from PIL import Image

    return Image.open(BytesIO(content))


def upright(image: OpenImage) -> OpenImage:
    """Turn an image as its EXIF orientation says."""
    from PIL import ImageOps

    try:
        is_turned = image.getexif().get(ORIENTATION, 1) != 1
    except Exception:  # noqa: BLE001  (EXIF that cannot be read is none; the pixels may be sound)
        is_turned = False
    return ImageOps.exif_transpose(image) if is_turned else image


def is_grey(image: OpenImage) -> bool:
    """Tell whether an image has one channel, an alpha channel apart."""
    return image.mode in ("1", "L", "LA", "La", "F") or image.mode.startswith("I")


def opener(container: Path) -> Callable[[str], bytes]:
    """Give the function that reads one file of a folder or a .zip by its name; several threads may call it."""
    if container.is_dir():
        return lambda name: (container / name).read_bytes()
    return zipfile.ZipFile(container).read


def list_folder(settings: DataSettings) -> Listing:
    """List a tree of class folders, with train/ and test/ above them or without; raises `StageError`."""
    path = Path(settings.place)
    stamps, folders, problems = _tree(path) if path.is_dir() else _archive(path)
    refuse_all(at("source", problems))
    if not stamps:
        raise StageError(f"'{path}' holds no images ({', '.join(ENDINGS)})", "source")
    top = _common(stamps)
    folders = {folder[len(top) :] for folder in folders if folder[: len(top)] == top}
    names = {"/".join(name): name[len(top) :] for name in stamps}
    has_splits = any(_is_train(parts[0]) for parts in [*names.values(), *folders] if parts)
    depth = 1 if has_splits else 0
    refuse_all(at("source", _layout_problems(names, folders, depth)))
    labels = tuple(sorted({name[depth] for name in names.values()} | {f[depth] for f in folders if len(f) > depth}))
    index = {label: i for i, label in enumerate(labels)}
    splits = {full: SPLITS[name[0].lower()] if has_splits else TRAIN for full, name in names.items()}
    ordered = sorted(names, key=lambda full: (splits[full], names[full]))
    given = np.array([splits[full] for full in ordered], dtype=np.int8)
    classes = np.array([index[names[full][depth]] for full in ordered], dtype=np.int64)
    problems = _class_problems(given, classes, labels, has_splits=has_splits)
    refuse_all(at("source", problems + scarce(given, classes, labels)))
    found = tuple(stamps[tuple(full.split("/"))] for full in ordered)
    return Listing(path, tuple(ordered), found, given, classes, labels)


Parts = tuple[str, ...]  # of a path


def _is_hidden(parts: Iterable[str]) -> bool:
    return any(part.startswith(".") or part == "__MACOSX" for part in parts)


def _is_train(name: str) -> bool:
    return SPLITS.get(name.lower()) == TRAIN


def _tree(path: Path) -> tuple[dict[Parts, tuple[int, ...]], set[Parts], list[str]]:
    """Give the images below a folder with their stamps, all folders below it, and what cannot be read.

    Links are followed, but not those that lead to a folder above them.
    """
    stamps: dict[Parts, tuple[int, ...]] = {}
    folders: set[Parts] = set()
    seen: dict[str, Path] = {}
    barred, lost, again = [], [], []

    def bar(error: OSError) -> None:
        barred.append(f"{error.filename} ({error.strerror})")

    for place, inner, files in os.walk(path, followlinks=True, onerror=bar):
        here, real = Path(place), os.path.realpath(place)
        first = seen.setdefault(real, here)
        if first != here:
            inner.clear()
            if first not in here.parents:
                again.append(f"{here} (as {first})")
            continue
        inner[:] = sorted(name for name in inner if not _is_hidden([name]))
        parts = here.relative_to(path).parts
        folders.add(parts)
        for name in files:
            if name.lower().endswith(ENDINGS) and not _is_hidden([name]):
                try:
                    status = (here / name).stat()
                except OSError as error:
                    lost.append(f"{here / name} ({'a link to nothing' if error.errno == ENOENT else error.strerror})")
                else:
                    stamps[(*parts, name)] = (status.st_size, status.st_mtime_ns)
    told = (
        (barred, "folder", "that cannot be read"),
        (again, "folder", "that a link shows a second time"),
        (lost, "image", "that cannot be opened"),
    )
    return stamps, folders, [f"{counted(len(all_), noun)} {what}: {named(all_)}" for all_, noun, what in told if all_]


def _archive(path: Path) -> tuple[dict[Parts, tuple[int, ...]], set[Parts], list[str]]:
    """Give the same of a .zip."""
    try:
        with zipfile.ZipFile(path) as archive:
            entries = archive.infolist()
    except (zipfile.BadZipFile, OSError) as error:
        raise StageError(f"'{path}' cannot be read: {error}", "source") from error
    stamps: dict[Parts, tuple[int, ...]] = {}
    folders: set[Parts] = set()
    for entry in entries:
        parts = tuple(entry.filename.rstrip("/").split("/"))
        if _is_hidden(parts):
            continue
        if entry.is_dir():
            folders.add(parts)
        elif entry.filename.lower().endswith(ENDINGS):
            stamps[parts] = (entry.file_size, entry.CRC)
            folders |= {parts[:-1]} - folders
    return stamps, folders | {folder[:depth] for folder in folders for depth in range(len(folder))}, []


def _common(names: Iterable[Parts]) -> Parts:
    """Give the folders above all images that hold nothing else: two levels, class and file, are left below them."""
    names = list(names)
    shortest = min(len(name) for name in names)
    top = names[0][: max(0, shortest - 2)]
    while any(name[: len(top)] != top for name in names):
        top = top[:-1]
    return top[:-1] if top and _is_train(top[-1]) else top


def _layout_problems(names: dict[str, Parts], folders: set[Parts], depth: int) -> list[str]:
    problems = []
    tops = sorted({name[0] for name in names.values() if len(name) > 1})
    splits = [f"{top}/" for top in tops if top.lower() in SPLITS]
    near = [top for top in tops if _is_nearly_split(top)]
    if not depth and splits:
        problems.append(f"has {named(splits)}, but no train/")
    elif not depth and len(near) > 1:
        problems.append(f"{named(near)} look like splits; rename them to train, validation and test")
    if depth:
        beside = sorted({name[0] for name in [*names.values(), *folders] if name and name[0].lower() not in SPLITS})
        if beside:
            allowed = "train, validation (valid, val) and test"
            problems.append(f"beside train/ stands what is no split: {named(beside)}; there may be {allowed}")
    loose = sorted(full for full, name in names.items() if len(name) < depth + 2)
    if loose:
        problems.append(f"{counted(len(loose), 'image')} in no class folder: {named(loose)}")
    return problems


def _is_nearly_split(name: str) -> bool:
    words = re.findall("[a-z]+", name.lower())
    return bool(words) and (words[0] in NEARLY_SPLITS or words[-1] in NEARLY_SPLITS)


def _class_problems(
    given: NDArray[np.int8], classes: NDArray[np.int64], labels: tuple[str, ...], *, has_splits: bool
) -> list[str]:
    """Say which classes are empty, in which split, and whether there are two at all."""
    problems = []
    if len(labels) < 2:  # noqa: PLR2004
        problems.append(f"needs at least two classes, has {named(list(labels))}")
    empty = []
    for split in sorted({TRAIN, *given.tolist()}):
        above = f"{SPLIT_NAMES[split]}/" if has_splits else ""
        sizes = np.bincount(classes[given == split], minlength=len(labels))
        empty += [f"{above}{name}" for name, size in zip(labels, sizes, strict=True) if not size]
    if empty:
        problems.append(f"{counted(len(empty), 'class')} without images: {named(empty)}")
    return problems


def list_csv(settings: DataSettings) -> Listing:
    """List the images of a table, one a row; raises `StageError` with every row that is wrong."""
    path = Path(settings.place)
    columns, rows = _rows(path)
    image, wanted = settings.image or "image", settings.target_columns
    asked = [("image", image), ("label", settings.label), ("split", settings.split), *(("targets", c) for c in wanted)]
    refuse_all(_column_problems(path, columns, [(key, column) for key, column in asked if column is not None]))
    if not rows:
        raise StageError(f"'{path}' has no rows", "source")
    table = _Table(path, rows)
    names, stamps = table.files(image)
    given = table.splits(settings.split)
    table.refuse_repeats(names, given, has_splits=settings.split is not None)
    if settings.label is None:
        numbers = table.numbers(wanted)
        refuse_all(table.problems())
        problems = at("targets", _target_problems(numbers[given == TRAIN], wanted))
        refuse_all(problems + at("source", scarce(given, None, wanted)))
        return Listing(path.parent, names, stamps, given, numbers.astype(np.float32), wanted)
    classes, labels = table.classes(settings.label)
    refuse_all(table.problems())
    problems = at("label", _class_problems(given, classes, labels, has_splits=settings.split is not None))
    refuse_all(problems + at("label", scarce(given, classes, labels)))
    return Listing(path.parent, names, stamps, given, classes, labels)


Row = tuple[int, dict[str, str], bool]  # line, fields, and whether there are more fields than columns


def _rows(path: Path) -> tuple[list[str], list[Row]]:
    """Read a table: the columns' names, and the rows that are not empty."""
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.reader(file)
            columns = [name.strip() for name in next(reader, [])]
            rows = [(reader.line_num, fields) for fields in reader if fields]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise StageError(f"'{path}' cannot be read as a csv: {error}", "source") from error
    return columns, [
        (line, dict(zip_longest(columns, fields[: len(columns)], fillvalue="")), len(fields) > len(columns))
        for line, fields in rows
    ]


def _column_problems(path: Path, columns: list[str], asked: list[tuple[str, str]]) -> list[tuple[str, str]]:
    """Say which columns are missing or not to be told apart, each at the key that asks for it."""
    if not any(columns):
        return [("source", f"'{path}' is empty; its first line has to name the columns")]
    other = next((mark for mark in (";", "\t", "|") if len(columns) == 1 and mark in columns[0]), None)
    if other:
        shown = "tabs" if other == "\t" else f"'{other}'"
        return [("source", f"'{path}' has one column, '{columns[0]}'; is it separated by {shown}? It needs commas")]
    twice = sorted({name for name in columns if name and columns.count(name) > 1})
    missing = [(key, column) for key, column in asked if column not in columns]
    known = [name for name in columns if name]
    return [
        *(("source", f"'{path}' has the column '{name}' more than once") for name in twice),
        *((key, f"'{path}' has no column '{column}'; {did_you_mean(column, known)}") for key, column in missing),
    ]


def _target_problems(numbers: NDArray[np.float64], columns: tuple[str, ...]) -> list[str]:
    """Say which columns of training targets [N, T] cannot be learnt as 32-bit numbers."""
    if len(numbers) < 2:  # noqa: PLR2004  (too few to tell; that is said elsewhere)
        return []
    spread = numbers.max(0) - numbers.min(0)
    lost = np.abs(numbers - numbers.astype(np.float32)).max(0)
    problems = []
    for place, column in enumerate(columns):
        if not spread[place]:
            problems.append(f"'{column}' is {numbers[0, place]:g} for every training image; there is nothing to learn")
        elif lost[place] > MOST_LOST * spread[place]:
            what = f"'{column}' varies too little for its size to be kept in 32 bits"
            problems.append(f"{what}; subtract an offset such as {numbers[0, place]:.12g}")
    return problems


class _Table:
    """The rows of a csv, and all that was found wrong in them, by key and kind."""

    def __init__(self, path: Path, rows: list[Row]) -> None:
        self.path, self.rows = path, rows
        self.wrong: dict[tuple[str, str], list[str]] = {}
        self.repeats: list[tuple[str, str]] = []
        for line, fields, is_long in rows:
            if is_long:
                self._note("source", "more fields than columns", line, next(iter(fields.values())))

    def _note(self, key: str, kind: str, line: int, text: str) -> None:
        self.wrong.setdefault((key, kind), []).append(f"line {line} ('{text}')")

    def problems(self) -> list[tuple[str, str]]:
        told = [
            (key, f"{self.path}: {kind} in {counted(len(all_), 'row')}: {named(all_)}")
            for (key, kind), all_ in self.wrong.items()
        ]
        return told + self.repeats

    def files(self, column: str) -> tuple[tuple[str, ...], tuple[tuple[int, ...], ...]]:
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

    def splits(self, column: str | None) -> NDArray[np.int8]:
        given = np.full(len(self.rows), TRAIN, dtype=np.int8)
        for index, (line, row, _) in enumerate(self.rows if column else []):
            word = row[column or ""].strip()
            if word.lower() not in SPLITS:
                self._note("split", "no split (train, validation or test)", line, word)
            else:
                given[index] = SPLITS[word.lower()]
        return given

    def refuse_repeats(self, names: tuple[str, ...], given: NDArray[np.int8], *, has_splits: bool) -> None:
        """Note images in several rows, if these are in different splits or a cut could put them there."""
        places: dict[str, list[int]] = {}
        for index, name in enumerate(names):
            places.setdefault(os.path.normpath(self.path.parent / name), []).append(index)
        cuts = not all((given == split).any() for split in (VALIDATION, TEST))
        across, within = [], []
        for rows in places.values():
            if len(rows) < 2:  # noqa: PLR2004
                continue
            lines = named([str(self.rows[index][0]) for index in rows], 3)
            if len(set(given[rows].tolist())) > 1:
                across.append(f"{names[rows[0]]} (lines {lines})")
            elif cuts and given[rows[0]] == TRAIN:
                within.append(f"{names[rows[0]]} (lines {lines})")
        if across:
            what = f"{self.path}: {counted(len(across), 'image')} in more than one split: {named(across)}"
            self.repeats.append(("split" if has_splits else "image", what))
        if within:
            what = f"{self.path}: {counted(len(within), 'image')} in several rows, which may be cut into two splits"
            self.repeats.append(("image", f"{what}: {named(within)}; keep one row of each"))

    def classes(self, column: str) -> tuple[NDArray[np.int64], tuple[str, ...]]:
        words = [row[column].strip() for _, row, _ in self.rows]
        for word, (line, row, _) in zip(words, self.rows, strict=True):
            if not word:
                self._note("label", f"no {column}", line, row[column])
        labels = tuple(sorted(set(words), key=_by_number))
        index = {label: i for i, label in enumerate(labels)}
        return np.array([index[word] for word in words], dtype=np.int64), labels

    def numbers(self, columns: tuple[str, ...]) -> NDArray[np.float64]:
        made = np.zeros((len(self.rows), len(columns)))
        for index, (line, row, _) in enumerate(self.rows):
            for place, column in enumerate(columns):
                try:
                    made[index, place] = float(row[column])
                except ValueError:
                    made[index, place] = math.nan
                if not abs(made[index, place]) <= np.finfo(np.float32).max:
                    self._note("targets", f"no number for {column}", line, row[column])
        return made


def _by_number(label: str) -> tuple[bool, int, str]:
    """Sort '2' before '10', and numbers before words."""
    is_number = label.isascii() and label.isdigit()
    return (not is_number, int(label) if is_number else 0, label)
