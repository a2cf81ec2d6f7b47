"""Class folders, with folders of splits above them or without, on disk or in a .zip. No torch here."""

from __future__ import annotations

import os
import re
import zipfile
from collections.abc import Iterable, Iterator
from dataclasses import replace
from errno import ENOENT
from pathlib import Path
from stat import S_ISREG
from typing import TYPE_CHECKING, TypeAlias

from coc_cli.data.settings import DataSettings
from coc_cli.data.sources.listed import ListedSource
from coc_cli.data.sources.source import COMMON_KEYS, KeyFault
from coc_cli.data.splits import SPLITS, TRAIN
from coc_cli.errors import DataError, StageError, at_key, pattern_fault, raise_if_any
from coc_cli.files import budget
from coc_cli.files.opening import zip_entries
from coc_cli.units import clipped, counted, named

if TYPE_CHECKING:
    from coc_cli.data.listing import Listing

ENDINGS = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".ppm", ".tif", ".tiff")
NEARLY_SPLITS = (*SPLITS, "dev", "eval", "trainset", "valset", "testset")  # as a name's first or last word

Parts: TypeAlias = tuple[str, ...]  # of a path
Stamps: TypeAlias = dict[Parts, tuple[int, ...]]  # of each image, what changes when it does


class Folder(ListedSource):
    """A tree of class folders."""

    name = "folder"
    summary = hint = "class folders, or a .zip of them"
    place = "PATH"
    takes = (*COMMON_KEYS, "test", "classes", "group")

    def place_fault(self, place: str) -> str | None:
        """Return a fault if there is no such folder or .zip."""
        path = Path(place)
        if not (path.is_dir() or path.is_file()):
            return f"no such folder or .zip file '{path}'"
        if path.is_file() and path.suffix.lower() != ".zip":
            return f"'{path}' is neither a folder nor a .zip file"
        return None

    def faults(self, settings: DataSettings) -> Iterator[KeyFault]:
        """Yield the faults of any source, and a pattern of groups that is none."""
        yield from super().faults(settings)
        if settings.group is not None and (what := pattern_fault(settings.group)):
            yield ("group",), what

    def listing(self, settings: DataSettings) -> Listing:
        """List a tree of class folders, with train/ and test/ above them or without; raises `StageError`."""
        path = Path(settings.place)
        stamps, folders, problems = _tree(path) if path.is_dir() else _archive(path)
        raise_if_any(at_key("source", problems))
        if not stamps:
            raise StageError(f"'{path}' holds no images ({', '.join(ENDINGS)})", "source")
        top = _common(stamps)
        inner = {folder[len(top) :] for folder in folders if folder[: len(top)] == top}
        listing = _listing(path, {"/".join(name): name[len(top) :] for name in stamps}, inner, stamps)
        return listing if settings.group is None else replace(listing, groups=_groups(listing, settings.group))


def _listing(path: Path, names: dict[str, Parts], folders: set[Parts], stamps: Stamps) -> Listing:
    """Return the listing of images, each with its parts below what all have in common; raises `DataError`."""
    import numpy as np

    from coc_cli.data.listing import Listing, class_problems
    from coc_cli.data.splitting import scarce

    has_splits = any(_is_train(parts[0]) for parts in [*names.values(), *folders] if parts)
    depth = 1 if has_splits else 0
    raise_if_any(at_key("source", _layout_problems(names, folders, depth)))
    labels = tuple(sorted({name[depth] for name in names.values()} | {f[depth] for f in folders if len(f) > depth}))
    index = {label: i for i, label in enumerate(labels)}
    split_of = {full: SPLITS[name[0].lower()] if has_splits else TRAIN for full, name in names.items()}
    ordered = sorted(names, key=lambda full: (split_of[full], names[full]))
    splits = np.array([split_of[full] for full in ordered], dtype=np.int8)
    classes = np.array([index[names[full][depth]] for full in ordered], dtype=np.int64)
    problems = class_problems(splits, classes, labels, has_splits=has_splits)
    raise_if_any(at_key("source", problems + scarce(splits, classes, labels)))
    return Listing(path, tuple(ordered), tuple(stamps[tuple(f.split("/"))] for f in ordered), splits, classes, labels)


def _groups(listing: Listing, pattern: str) -> tuple[str, ...]:
    """Return the group of each image: the pattern's first group, or all that it matches; raises `DataError`."""
    searched = re.compile(pattern).search
    groups = [found and found[min(1, found.re.groups)] for found in map(searched, listing.names)]
    lost = [name for name, group in zip(listing.names, groups, strict=True) if group is None]
    if lost:
        what = f"'{clipped(pattern)}' matches no part of {counted(len(lost), 'path')}: {named(lost)}"
        raise DataError([("group", what)])
    return tuple(group or "" for group in groups)


def _is_hidden(parts: Iterable[str]) -> bool:
    return any(part.startswith(".") or part == "__MACOSX" for part in parts)


def _is_train(name: str) -> bool:
    return SPLITS.get(name.lower()) == TRAIN


def _tree(path: Path) -> tuple[Stamps, set[Parts], list[str]]:
    """Return the images below a folder with their stamps, all folders below it, and what cannot be read."""
    tree = _Tree(path)
    tree.walk()
    return tree.stamps, tree.folders, tree.problems()


class _Tree:
    """The images and folders below a path; links are followed, but not those that lead to a folder above them."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.stamps: Stamps = {}
        self.folders: set[Parts] = set()
        self.first: dict[str, Path] = {}  # of each real folder, where it was met first
        self.unreadable: list[str] = []
        self.repeated: list[str] = []
        self.lost: list[str] = []

    def walk(self) -> None:
        """Note all that is below the path."""
        for place, inner, files in os.walk(self.path, followlinks=True, onerror=self._note_unreadable):
            here = Path(place)
            if self._is_repeated(here):
                inner.clear()  # os.walk goes into those folders that are left here, in their order
                continue
            inner[:] = sorted(name for name in inner if not _is_hidden([name]))
            self.folders.add(here.relative_to(self.path).parts)
            for name in files:
                if name.lower().endswith(ENDINGS) and not _is_hidden([name]):
                    self._note_image(here / name)

    def problems(self) -> list[str]:
        """Return what cannot be used."""
        kinds = (
            (self.unreadable, "folder", "that cannot be read"),
            (self.repeated, "folder", "that a link shows a second time"),
            (self.lost, "image", "that cannot be opened"),
        )
        return [f"{counted(len(names), noun)} {what}: {named(names)}" for names, noun, what in kinds if names]

    def _note_unreadable(self, error: OSError) -> None:
        self.unreadable.append(f"{error.filename} ({error.strerror})")

    def _is_repeated(self, here: Path) -> bool:
        """Return whether a folder was met before, and note it unless it is above itself."""
        first = self.first.setdefault(os.path.realpath(here), here)
        if first != here and first not in here.parents:
            self.repeated.append(f"{here} (as {first})")
        return first != here

    def _note_image(self, path: Path) -> None:
        try:
            status = path.stat()
        except OSError as error:
            self.lost.append(f"{path} ({'a link to nothing' if error.errno == ENOENT else error.strerror})")
        else:
            if not S_ISREG(status.st_mode):
                self.lost.append(f"{path} (a pipe or a device)")
                return
            self.stamps[path.relative_to(self.path).parts] = (status.st_size, status.st_mtime_ns)


def _archive(path: Path) -> tuple[Stamps, set[Parts], list[str]]:
    """Return the same of a .zip; raises `StageError` where it cannot be read."""
    try:
        entries = zip_entries(path)
    except (zipfile.BadZipFile, OSError) as error:
        raise StageError(f"'{path}' cannot be read: {error}", "source") from error
    if len(entries) > budget.ENTRIES:
        raise StageError(f"'{path}' holds {len(entries):,} files, at most {budget.ENTRIES:,} are read", "source")
    stamps: Stamps = {}
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
    """Return the folders above all images that hold nothing else: two levels, class and file, are left below them."""
    names = list(names)
    shortest = min(len(name) for name in names)
    top = names[0][: max(0, shortest - 2)]
    while any(name[: len(top)] != top for name in names):
        top = top[:-1]
    return top[:-1] if top and _is_train(top[-1]) else top


def _layout_problems(names: dict[str, Parts], folders: set[Parts], depth: int) -> list[str]:
    """Return what does not fit a tree of class folders at a depth: 1 below folders of splits, else 0."""
    problems = _beside_splits(names, folders) if depth else _nearly_splits(names)
    loose = sorted(full for full, name in names.items() if len(name) < depth + 2)
    if loose:
        problems.append(f"{counted(len(loose), 'image')} in no class folder: {named(loose)}")
    return problems


def _nearly_splits(names: dict[str, Parts]) -> list[str]:
    """Return a problem if folders of classes look like splits."""
    tops = sorted({name[0] for name in names.values() if len(name) > 1})
    splits = [f"{top}/" for top in tops if top.lower() in SPLITS]
    if splits:
        return [f"has {named(splits)}, but no train/"]
    near = [top for top in tops if _is_nearly_split(top)]
    return [f"{named(near)} look like splits; rename them to train, validation and test"] if len(near) > 1 else []


def _beside_splits(names: dict[str, Parts], folders: set[Parts]) -> list[str]:
    """Return a problem if other folders or images lie beside the folders of splits."""
    beside = sorted({name[0] for name in [*names.values(), *folders] if name and name[0].lower() not in SPLITS})
    allowed = "train, validation (valid, val) and test"
    what = f"beside train/ stands what is no split: {named(beside)}; there may be {allowed}"
    return [what] if beside else []


def _is_nearly_split(name: str) -> bool:
    words = re.findall("[a-z]+", name.lower())
    return bool(words) and (words[0] in NEARLY_SPLITS or words[-1] in NEARLY_SPLITS)
