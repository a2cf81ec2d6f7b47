"""Which images a source has, by name: class folders, a .zip of them, or a table; nothing is decoded. No torch here."""

from __future__ import annotations

import csv
import math
import os
import zipfile
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from coc_cli.data.cut import TEST, TRAIN, VALIDATION, Rows, cut_all, scarce
from coc_cli.data.source import DataInfo, DataSettings, counted, named, refuse_all
from coc_cli.errors import StageError, did_you_mean

if TYPE_CHECKING:
    from PIL.Image import Image as OpenImage

ENDINGS = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".ppm", ".tif", ".tiff")
SPLITS = {"train": TRAIN, "validation": VALIDATION, "valid": VALIDATION, "val": VALIDATION, "test": TEST}
SPLIT_NAMES = ("train", "validation", "test")
TEST_SHARE = 0.2


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
    if settings.test is not None and (listing.given == TEST).any():
        raise StageError("the source brings its own test split; leave it out", "test")
    count = len(cut_listing(settings, listing, 0)[1])
    return DataInfo(
        shape=_shape(settings, listing),
        labels=listing.labels,
        task="regression" if listing.classes is None else "classification",
        mean=None,
        std=None,
        validation_images=count,
    )


def _shape(settings: DataSettings, listing: Listing) -> tuple[int, int, int]:
    """Give [C, H, W]: what is asked for, else that of the first image that can be opened."""
    if settings.height_width and settings.channels:
        return (settings.channels, *settings.height_width)
    fetch = opener(listing.container)
    for name in listing.names:
        try:
            with open_image(fetch(name)) as image:
                width, height = image.size
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
    stamps, folders = _tree(path) if path.is_dir() else _archive(path)
    if not stamps:
        raise StageError(f"'{path}' holds no images ({', '.join(ENDINGS)})", "source")
    top = _common(stamps)
    folders = {folder[len(top) :] for folder in folders if folder[: len(top)] == top}
    names = {"/".join(name): name[len(top) :] for name in stamps}
    has_splits = any(name[0].lower() == "train" for name in names.values()) or any(
        folder[0].lower() == "train" for folder in folders if folder
    )
    depth = 1 if has_splits else 0
    problems = _layout_problems(names, folders, depth)
    refuse_all(problems)
    labels = tuple(sorted({name[depth] for name in names.values()} | {f[depth] for f in folders if len(f) > depth}))
    index = {label: i for i, label in enumerate(labels)}
    splits = {full: SPLITS[name[0].lower()] if has_splits else TRAIN for full, name in names.items()}
    ordered = sorted(names, key=lambda full: (splits[full], names[full]))
    given = np.array([splits[full] for full in ordered], dtype=np.int8)
    classes = np.array([index[names[full][depth]] for full in ordered], dtype=np.int64)
    problems = _class_problems(given, classes, labels, has_splits=has_splits)
    refuse_all(problems + scarce(given, classes, labels))
    found = tuple(stamps[tuple(full.split("/"))] for full in ordered)
    return Listing(path, tuple(ordered), found, given, classes, labels)


Parts = tuple[str, ...]  # of a path


def _is_hidden(parts: Iterable[str]) -> bool:
    return any(part.startswith(".") or part == "__MACOSX" for part in parts)


def _tree(path: Path) -> tuple[dict[Parts, tuple[int, ...]], set[Parts]]:
    """Give the images below a folder with their stamps, and all folders below it."""
    stamps: dict[Parts, tuple[int, ...]] = {}
    folders: set[Parts] = set()
    for place, inner, files in os.walk(path, followlinks=True):
        inner[:] = [name for name in inner if not _is_hidden([name])]
        parts = Path(place).relative_to(path).parts
        folders.add(parts)
        for name in files:
            if name.lower().endswith(ENDINGS) and not _is_hidden([name]):
                status = (Path(place) / name).stat()
                stamps[(*parts, name)] = (status.st_size, status.st_mtime_ns)
    return stamps, folders


def _archive(path: Path) -> tuple[dict[Parts, tuple[int, ...]], set[Parts]]:
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
    return stamps, folders | {folder[:depth] for folder in folders for depth in range(len(folder))}


def _common(names: Iterable[Parts]) -> Parts:
    """Give the folders above all images that hold nothing else: two levels, class and file, are left below them."""
    names = list(names)
    shortest = min(len(name) for name in names)
    top = names[0][: max(0, shortest - 2)]
    while any(name[: len(top)] != top for name in names):
        top = top[:-1]
    return top[:-1] if top and top[-1].lower() == "train" else top


def _layout_problems(names: dict[str, Parts], folders: set[Parts], depth: int) -> list[str]:
    problems = []
    tops = {name[0].lower() for name in names.values()}
    if not depth and tops <= set(SPLITS):
        problems.append(f"has {named(sorted(f'{top}/' for top in tops))}, but no train/")
    if depth:
        beside = sorted({name[0] for name in [*names.values(), *folders] if name and name[0].lower() not in SPLITS})
        if beside:
            allowed = "train, validation (valid, val) and test"
            problems.append(f"beside train/ stands what is no split: {named(beside)}; there may be {allowed}")
    loose = sorted(full for full, name in names.items() if len(name) < depth + 2)
    if loose:
        problems.append(f"{counted(len(loose), 'image')} in no class folder: {named(loose)}")
    return problems


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
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file)
            rows = [(reader.line_num, row) for row in reader]
            columns = list(reader.fieldnames or ())
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise StageError(f"'{path}' cannot be read as a csv: {error}", "source") from error
    wanted = (settings.targets,) if isinstance(settings.targets, str) else settings.targets or ()
    asked = {"image": settings.image or "image", "label": settings.label, "split": settings.split}
    for key, column in [*asked.items(), *(("targets", column) for column in wanted)]:
        if column is not None and column not in columns:
            raise StageError(f"'{path}' has no column '{column}'; {did_you_mean(column, columns)}", key)
    if not rows:
        raise StageError(f"'{path}' has no rows", "source")
    table = _Table(path, rows)
    names, stamps = table.files(str(asked["image"]))
    given = table.splits(settings.split)
    if settings.label is None:
        numbers = table.numbers(wanted)
        refuse_all(table.problems())
        refuse_all(scarce(given, None, wanted))
        return Listing(path.parent, names, stamps, given, numbers, wanted)
    classes, labels = table.classes(settings.label)
    refuse_all(table.problems())
    problems = _class_problems(given, classes, labels, has_splits=settings.split is not None)
    refuse_all(problems + scarce(given, classes, labels))
    return Listing(path.parent, names, stamps, given, classes, labels)


class _Table:
    """The rows of a csv, and all that was found wrong in them, by kind."""

    def __init__(self, path: Path, rows: list[tuple[int, dict[str, str | None]]]) -> None:
        self.path, self.rows = path, rows
        self.wrong: dict[str, list[str]] = {}

    def _note(self, kind: str, line: int, text: str | None) -> None:
        self.wrong.setdefault(kind, []).append(f"line {line} ('{text or ''}')")

    def problems(self) -> list[str]:
        return [
            f"{self.path}: {kind} in {counted(len(all_), 'row')}: {named(all_)}" for kind, all_ in self.wrong.items()
        ]

    def files(self, column: str) -> tuple[tuple[str, ...], tuple[tuple[int, ...], ...]]:
        stamps = []
        for line, row in self.rows:
            try:
                place = self.path.parent / (row[column] or "")
                status = place.stat()
            except (OSError, ValueError):
                self._note("no such image", line, row[column])
                continue
            stamps.append((status.st_size, status.st_mtime_ns))
            if not place.is_file():
                self._note("no such image", line, row[column])
        return tuple(row[column] or "" for _, row in self.rows), tuple(stamps)

    def splits(self, column: str | None) -> NDArray[np.int8]:
        given = np.full(len(self.rows), TRAIN, dtype=np.int8)
        for index, (line, row) in enumerate(self.rows if column else []):
            word = row[column or ""]
            if word not in SPLITS:
                self._note("no split (train, validation or test)", line, word)
            else:
                given[index] = SPLITS[word]
        return given

    def classes(self, column: str) -> tuple[NDArray[np.int64], tuple[str, ...]]:
        for line, row in self.rows:
            if not row[column]:
                self._note(f"no {column}", line, row[column])
        words = [row[column] or "" for _, row in self.rows]
        labels = tuple(sorted(set(words), key=_by_number))
        index = {label: i for i, label in enumerate(labels)}
        return np.array([index[word] for word in words], dtype=np.int64), labels

    def numbers(self, columns: tuple[str, ...]) -> NDArray[np.float32]:
        made = np.zeros((len(self.rows), len(columns)), dtype=np.float32)
        for index, (line, row) in enumerate(self.rows):
            for place, column in enumerate(columns):
                try:
                    made[index, place] = float(row[column] or "")
                except ValueError:
                    made[index, place] = math.nan
                if not np.isfinite(made[index, place]):
                    self._note(f"no number for {column}", line, row[column])
        return made


def _by_number(label: str) -> tuple[bool, int, str]:
    """Sort '2' before '10', and numbers before words."""
    is_number = label.isascii() and label.isdigit()
    return (not is_number, int(label) if is_number else 0, label)
