"""Decoding images once: an array on disk, with its checksum, that later runs load or map. No torch here."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import shutil
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from coc_cli.data.ahead import ahead
from coc_cli.data.listing import Listing, is_grey, open_image, opener, upright
from coc_cli.data.source import Progress, at, counted, named, refuse_all
from coc_cli.errors import StageError

FORMAT = 2  # of the cache; a change of what decoding gives needs another
CHUNK = 64  # images a thread decodes at a time
IMAGES, SUMS, ABOUT = "images.npy", "sums.npy", "about.json"


Fetch: TypeAlias = Callable[[str], bytes]  # a file by its name


@dataclass(frozen=True)
class Decoded:
    """Images uint8 [M, C, H, W], and of each the sums of its pixels and their squares, int64 [M, 2, C]."""

    images: NDArray[np.uint8]
    sums: NDArray[np.int64]
    checksum: str  # sha256 of the pixels
    mapped: bool  # the images are on disk


def decode(
    listing: Listing,
    rows: NDArray[np.int64],
    shape: tuple[int, int, int],
    *,
    resize: bool,
    grey_only: bool = False,
    cache: Path,
    most_bytes: int,
    progress: Progress | None = None,
) -> Decoded:
    """Give the images of some rows [M] of a listing, from the cache or decoded into it.

    Those larger than `most_bytes` together stay on disk. Raises `StageError` that names every image that is broken or,
    without `resize`, of another size, or with `grey_only` in colour.
    """
    files = [(listing.names[row], listing.stamps[row]) for row in rows]
    asked = [FORMAT, str(listing.container), shape, resize, grey_only, files]
    key = hashlib.sha256(json.dumps(asked).encode()).hexdigest()[:32]
    folder = cache / "data" / key
    full = (len(rows), *shape)
    mapped = len(rows) * int(np.prod(shape)) > most_bytes
    wanted = _Wanted(tuple(map(int, full)), resize, grey_only)
    try:
        with _locked(folder):
            found = _load(folder, full, mapped=mapped)
            if found is None:
                _check_space(folder, full)
                shutil.rmtree(folder, ignore_errors=True)
                _write(opener(listing.container), [name for name, _ in files], wanted, folder, progress=progress)
                found = _load(folder, full, mapped=mapped)
    except OSError as error:
        what = f"decoded images cannot be kept in '{folder.parent}': {error.strerror or error}"
        raise StageError(f"{what}; make that a folder that coc may write to", "source") from error
    if found is None:
        raise StageError(f"'{folder}' cannot be read back; is the disk sound?", "source")
    return found


@dataclass(frozen=True)
class _Wanted:
    """What decoding is to give."""

    full: tuple[int, ...]  # M, C, H, W
    resize: bool
    grey_only: bool


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Hold the folder alone: whoever comes second waits, and finds the work done."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    with folder.with_suffix(".lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _load(folder: Path, shape: tuple[int, ...], *, mapped: bool) -> Decoded | None:
    """Give what the cache holds; None where there is nothing, or it is damaged."""
    try:
        about = json.loads((folder / ABOUT).read_text())
        images = np.load(folder / IMAGES, mmap_mode="c" if mapped else None)
        sums = np.load(folder / SUMS)
    except (OSError, ValueError, EOFError, zipfile.BadZipFile):
        return None
    if not all(isinstance(array, np.ndarray) for array in (images, sums)):  # a .zip gives something else
        return None
    if not isinstance(about, dict) or (images.shape, images.dtype) != (shape, np.uint8):
        return None
    if sums.shape != (shape[0], 2, shape[1]) or hashlib.sha256(sums.tobytes()).hexdigest() != about.get("sums"):
        return None
    # To read a mapped file through takes minutes: it is done only if the file was touched since it was written.
    is_touched = about.get("stamp") != _stamp(folder)
    if (is_touched or not mapped) and _checksum(images) != about.get("images"):
        return None
    return Decoded(images, sums, str(about.get("images")), mapped)


def _stamp(folder: Path) -> list[int]:
    status = (folder / IMAGES).stat()
    return [status.st_size, status.st_mtime_ns]


def _checksum(images: NDArray[np.uint8]) -> str:
    digest = hashlib.sha256()
    for start in range(0, len(images), CHUNK):
        digest.update(images[start : start + CHUNK].data)
    return digest.hexdigest()


def _check_space(folder: Path, shape: tuple[int, ...]) -> None:
    needed, free = int(np.prod(shape) * 1.05), shutil.disk_usage(folder.parent).free
    if needed > free:
        what = f"decoded images take {needed / 1e9:.1f} GB in '{folder.parent}', where {free / 1e9:.1f} GB are free"
        raise StageError(f"{what}; give a smaller 'size', or a 'limit'", "source")


def _write(fetch: Fetch, names: list[str], wanted: _Wanted, folder: Path, *, progress: Progress | None) -> None:
    """Decode every image into a folder beside the final one, then rename it, so that half of one is never seen."""
    part = folder.with_suffix(".part")
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(parents=True)
    try:
        checksum, sums = _write_images(fetch, names, wanted, part / IMAGES, progress=progress)
        np.save(part / SUMS, sums)
        about = {"images": checksum, "stamp": _stamp(part), "sums": hashlib.sha256(sums.tobytes()).hexdigest()}
        (part / ABOUT).write_text(json.dumps(about))
        part.rename(folder)
    finally:
        shutil.rmtree(part, ignore_errors=True)


def _write_images(
    fetch: Fetch, names: list[str], wanted: _Wanted, path: Path, *, progress: Progress | None
) -> tuple[str, NDArray[np.int64]]:
    digest, sums, faults = hashlib.sha256(), [], _Faults(wanted.full)

    def decoded(start: int) -> list[NDArray[np.uint8] | Exception]:
        return [_attempt(fetch, name, wanted) for name in names[start : start + CHUNK]]

    with path.open("wb") as file:
        header = {"descr": "|u1", "fortran_order": False, "shape": wanted.full}
        np.lib.format.write_array_header_1_0(file, header)
        starts = range(0, len(names), CHUNK)
        for start, chunk in zip(starts, ahead(decoded, starts), strict=True):
            faults.note(names[start : start + CHUNK], chunk)
            if not faults.found:
                images = [image for image in chunk if not isinstance(image, Exception)]
                pixels = np.ascontiguousarray(np.stack(images))
                file.write(pixels.data)
                digest.update(pixels.data)
                wide = pixels.reshape(*pixels.shape[:2], -1).astype(np.int64)
                sums.append(np.stack([wide.sum(2), (wide * wide).sum(2)], 1))
            if progress:
                progress(min(start + CHUNK, len(names)), len(names))
        faults.tell()
        file.flush()
        os.fsync(file.fileno())
    return digest.hexdigest(), np.concatenate(sums)


class _OtherSize(Exception):  # noqa: N818  (it is no error by itself)
    pass


class _Coloured(Exception):  # noqa: N818
    pass


class _Unusable(Exception):  # noqa: N818
    pass


class _Faults:
    """Every image that cannot be used."""

    def __init__(self, shape: tuple[int, ...]) -> None:
        self.shape = shape
        self.broken: list[str] = []
        self.other: list[str] = []
        self.coloured: list[str] = []

    @property
    def found(self) -> bool:
        return bool(self.broken or self.other or self.coloured)

    def note(self, names: list[str], made: list[Any]) -> None:
        for name, result in zip(names, made, strict=True):
            if isinstance(result, _OtherSize):
                self.other.append(f"{name} ({result})")
            elif isinstance(result, _Coloured):
                self.coloured.append(name)
            elif isinstance(result, Exception):
                self.broken.append(f"{name} ({_reason(result)})")

    def tell(self) -> None:
        """Raise `StageError` if any image was noted."""
        told = []
        if self.broken:
            told.append(f"{counted(len(self.broken), 'image')} cannot be read: {named(self.broken)}")
        if self.other:
            height, width = self.shape[2:]
            what = f"{counted(len(self.other), 'image')} not {height}x{width} as the first: {named(self.other)}"
            told.append(f"{what}; give 'size' to resize all")
        if self.coloured:
            what = f"{counted(len(self.coloured), 'image')} in colour, but the first is grey: {named(self.coloured)}"
            told.append(f"{what}; give 'channels', 3 or 1")
        refuse_all(at("source", told))


def _reason(error: Exception) -> str:
    """Say in a word or two why an image cannot be read."""
    from PIL import Image, UnidentifiedImageError

    if isinstance(error, _Unusable):
        return str(error)
    if isinstance(error, UnidentifiedImageError):
        return "not an image"
    if isinstance(error, Image.DecompressionBombError):
        return "too large"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror.lower()
    return "truncated" if "truncated" in str(error).lower() else "damaged"


def _attempt(fetch: Fetch, name: str, wanted: _Wanted) -> NDArray[np.uint8] | Exception:
    try:
        content = fetch(name)
        return pixels_of(content, wanted.full[1:], resize=wanted.resize, grey_only=wanted.grey_only)
    except Exception as error:  # noqa: BLE001  (whatever a decoder raises: the image is broken, and all are to be named)
        return error


def pixels_of(content: bytes, shape: tuple[int, ...], *, resize: bool, grey_only: bool = False) -> NDArray[np.uint8]:
    """Decode an image file to uint8 [C, H, W], resized bilinearly with antialiasing if it is to be.

    It is turned as its EXIF orientation says, and what is transparent is put on white.
    """
    from PIL import Image

    if not content:
        raise _Unusable("empty")
    channels, height, width = shape
    with open_image(content) as opened:
        image: Any = _plain(upright(opened), opened.format)
        if not resize and image.size != (width, height):
            raise _OtherSize(f"{image.size[1]}x{image.size[0]}")
        if grey_only and not is_grey(image) and np.ptp(np.asarray(image.convert("RGB")), axis=2).any():
            raise _Coloured
        mode = "L" if channels == 1 else "RGB"
        if image.mode != mode:
            image = image.convert(mode)
        if image.size != (width, height):
            image = image.resize((width, height), Image.Resampling.BILINEAR)
        made = np.asarray(image)
    return made[None] if channels == 1 else made.transpose(2, 0, 1)


def _plain(image: Any, form: str | None) -> Any:
    """Give an image of 8 bits without transparency; `form` is the file's format."""
    from PIL import Image

    if image.mode == "F" or (image.mode == "I" and form not in ("PNG", "PPM")):  # these two: 16 bits in an I
        raise _Unusable(f"{'floating point' if image.mode == 'F' else '32 bits'} a pixel; save it with 8 or 16")
    if image.mode.startswith("I"):  # 16 bits; Pillow would cut them off at 255
        return Image.fromarray((np.asarray(image, dtype=np.int64) // 256).clip(0, 255).astype(np.uint8))
    if image.mode in ("RGBA", "LA", "PA", "RGBa", "La") or "transparency" in image.info:
        grey, deep = is_grey(image), image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", deep.size, "white"), deep).convert("L" if grey else "RGB")
    return image
