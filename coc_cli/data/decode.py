"""Decoding images once: an array on disk, with its checksum, that later runs load or map. No torch here."""

from __future__ import annotations

import hashlib
import json
import math
import os
import shutil
import zipfile
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from coc_cli.data.listing import Fetch, Listing, opener
from coc_cli.data.read_ahead import ahead
from coc_cli.data.unusable import UnusableImages
from coc_cli.errors import StageError
from coc_cli.files import budget
from coc_cli.files.atomic import locked
from coc_cli.files.opening import parse_json, read_text
from coc_cli.files.places import from_here
from coc_cli.files.run_directory import DATA, check_places
from coc_cli.pixels.decoding import pixels_of

FORMAT = 2  # of the cache; increase it when decoding yields other pixels
CHUNK = 64  # images a thread decodes at a time, fewer if they are large
IMAGES, SUMS, ABOUT = "images.npy", "sums.npy", "about.json"

Progress: TypeAlias = Callable[[int, int], None]  # images that are decoded, of how many


@dataclass(frozen=True)
class Form:
    """The form to which every image is decoded."""

    shape: tuple[int, int, int]  # C, H, W
    resize: bool  # else an image of another size is refused
    grey_only: bool = False  # refuse an image in colour


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
    form: Form,
    *,
    cache: Path,
    most_bytes: int,
    progress: Progress | None = None,
) -> Decoded:
    """Return the images of the rows [M] of a listing, from the cache or decoded into it.

    All images of a listing have a place there, from which any rows are taken; and so has the latest choice of some of
    them, made while not all were decoded. Those larger than `most_bytes` together stay on disk.

    Raises `StageError` that names every image that is broken or, without `resize`, of another size, or with `grey_only`
    in colour; or says why the cache cannot be written.
    """
    every = np.arange(len(listing.names))
    whole = folder = cache / DATA / _key(listing, every, form)
    names, key = tuple(listing.names[row] for row in rows), _key(listing, rows, form)
    job = _Job(listing.container, names, form, key, progress)
    is_mapped, decoded = job.bytes > most_bytes, None
    try:
        if len(rows) < len(every):
            folder = whole.with_name(f"{whole.name}-some")
            if whole.is_dir() and not is_mapped:
                shape = (len(every), *job.shape[1:])
                decoded = _some(whole, rows, shape, mapped=math.prod(shape) > most_bytes)
        decoded = decoded or _loaded_or_decoded(folder, job, mapped=is_mapped)
    except OSError as error:
        what = f"decoded images cannot be kept in '{folder.parent}': {error.strerror or error}"
        raise StageError(f"{what}; make that a folder that coc may write to", "source") from error
    if decoded is None:
        raise StageError(f"'{folder}' cannot be read back; is the disk sound?", "source")
    return decoded


def _key(listing: Listing, rows: NDArray[np.int64], form: Form) -> str:
    """Return a hash of everything that determines the pixels of some rows; that of all names the cache's folder."""
    files = [(listing.names[row], listing.stamps[row]) for row in rows]
    content = [FORMAT, str(from_here(listing.container)), form.shape, form.resize, form.grey_only, files]
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()[:32]


@dataclass(frozen=True)
class _Job:
    """The files to decode, and their target form."""

    container: Path
    names: tuple[str, ...]
    form: Form
    key: str  # of their pixels
    progress: Progress | None

    @property
    def bytes(self) -> int:
        """Of all images."""
        return math.prod(self.shape)

    @property
    def shape(self) -> tuple[int, ...]:
        """M, C, H, W of all images."""
        return (len(self.names), *map(int, self.form.shape))


def _loaded_or_decoded(folder: Path, job: _Job, *, mapped: bool) -> Decoded | None:
    folder.parent.mkdir(parents=True, exist_ok=True)
    with locked(folder.with_suffix(".lock"), wait=True):  # whoever comes second finds the work done
        check_places(folder, is_entry=True)
        decoded = _load(folder, job.shape, key=job.key, mapped=mapped)
        if decoded is None:
            _check_space(folder, job.shape)
            shutil.rmtree(folder, ignore_errors=True)
            _write(job, folder)
            decoded = _load(folder, job.shape, key=job.key, mapped=mapped)
        if decoded:
            _note_use(folder)
        return decoded


def _note_use(folder: Path) -> None:
    with suppress(PermissionError):  # it may be another user's
        os.utime(folder)


def _some(whole: Path, rows: NDArray[np.int64], shape: tuple[int, ...], *, mapped: bool) -> Decoded | None:
    """Return some rows of the cached images [N, C, H, W] of a whole listing, as if they were decoded by themselves."""
    with locked(whole.with_suffix(".lock"), wait=True):
        found = _load(whole, shape, key=whole.name, mapped=mapped)
        if found is None:
            return None
        _note_use(whole)
        images = np.array(found.images[rows])
        return Decoded(images, found.sums[rows], _checksum(images), mapped=False)


def _load(folder: Path, shape: tuple[int, ...], *, key: str, mapped: bool) -> Decoded | None:
    """Load the cached images, if they are those of a key; None if there are none, or they are damaged."""
    try:
        about = parse_json(read_text(folder / ABOUT, budget.RECIPE_BYTES))
        images = np.load(folder / IMAGES, mmap_mode="c" if mapped else None)
        sums = np.load(folder / SUMS)
    except (OSError, ValueError, EOFError, RecursionError, zipfile.BadZipFile):
        return None
    if not all(isinstance(array, np.ndarray) for array in (images, sums)):  # a .zip loads as something else
        return None
    if not isinstance(about, dict) or about.get("key", folder.name) != key:
        return None
    is_shaped = (images.shape, images.dtype, sums.shape) == (shape, np.uint8, (shape[0], 2, shape[1]))
    if not is_shaped or hashlib.sha256(sums.tobytes()).hexdigest() != about.get("sums"):
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


def _write(job: _Job, folder: Path) -> None:
    """Decode every image into a folder beside the final one, then rename it, so that half of one is never seen."""
    part = folder.with_suffix(".part")
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(parents=True)
    try:
        checksum, sums = _write_images(job, part / IMAGES)
        np.save(part / SUMS, sums)
        about = {
            "key": job.key,
            "images": checksum,
            "stamp": _stamp(part),
            "sums": hashlib.sha256(sums.tobytes()).hexdigest(),
        }
        (part / ABOUT).write_text(json.dumps(about))
        part.rename(folder)
    finally:
        shutil.rmtree(part, ignore_errors=True)


def _write_images(job: _Job, path: Path) -> tuple[str, NDArray[np.int64]]:
    """Write the pixels of every image as one array; return its checksum and the sums [M, 2, C] of each image."""
    digest, sums = hashlib.sha256(), []
    with path.open("wb") as file:
        header = {"descr": "|u1", "fortran_order": False, "shape": job.shape}
        np.lib.format.write_array_header_1_0(file, header)
        for pixels in _decoded_chunks(job):
            file.write(pixels.data)
            digest.update(pixels.data)
            flat = pixels.reshape(*pixels.shape[:2], -1)
            squares = np.einsum("bcn,bcn->bc", flat, flat, dtype=np.int64)
            sums.append(np.stack([flat.sum(2, dtype=np.int64), squares], 1))
        file.flush()
        os.fsync(file.fileno())
    return digest.hexdigest(), np.concatenate(sums)


def _decoded_chunks(job: _Job) -> Iterator[NDArray[np.uint8]]:
    """Yield images [B, C, H, W] in order, as long as all can be used; raises `DataError` that names all others."""
    fetch = opener(job.container)

    def attempts(start: int) -> list[NDArray[np.uint8] | Exception]:
        return [_attempt(fetch, name, job.form) for name in job.names[start : start + size]]

    size = max(1, min(CHUNK, budget.CHUNK_BYTES // int(np.prod(job.form.shape))))
    starts, unusable = range(0, len(job.names), size), UnusableImages(*job.form.shape[1:])
    for start, chunk in zip(starts, ahead(attempts, starts), strict=True):
        unusable.note(job.names[start : start + size], chunk)
        if not unusable:
            images = [image for image in chunk if not isinstance(image, Exception)]
            yield np.ascontiguousarray(np.stack(images))  # a stack of transposed arrays is not in C order
        if job.progress:
            job.progress(min(start + size, len(job.names)), len(job.names))
    unusable.raise_if_any()


def _attempt(fetch: Fetch, name: str, form: Form) -> NDArray[np.uint8] | Exception:
    try:
        return pixels_of(fetch(name), form.shape, resize=form.resize, grey_only=form.grey_only)
    except Exception as error:  # noqa: BLE001  (whatever a decoder raises: the image is broken, and all are to be named)
        error.__cause__ = error.__context__ = None  # what is kept is the reason, not the frames with the image's bytes
        return error.with_traceback(None)
