"""The files of MNIST and its kin, in the idx format (LeCun, Cortes and Burges 1998), plain or as .gz.

They are judged by what they hold, since whoever packs them again gets other checksums of the .gz.
"""

from __future__ import annotations

import gzip
import zlib
from math import prod
from pathlib import Path
from typing import IO, cast

import numpy as np
from numpy.typing import NDArray

from coc_cli.errors import StageError
from coc_cli.files.opening import is_file, open_regular

IMAGES, LABELS = "{}-images-idx3-ubyte", "{}-labels-idx1-ubyte"
SPLITS = ("train", "t10k")
UNSIGNED_BYTES = b"\0\0\x08"  # how a file of them begins; then the number of axes, and the length of each
FORMS = ("", ".gz")


def idx_files(folder: Path) -> list[Path] | None:
    """Return the files of a folder, images and labels to train on and those to test; None if one is not there."""
    found = [
        next((path for form in FORMS if is_file(path := folder / f"{name.format(split)}{form}")), None)
        for split in SPLITS
        for name in (IMAGES, LABELS)
    ]
    return [path for path in found if path] if all(found) else None


def read_idx(path: Path, axes: int, most: tuple[int, ...]) -> NDArray[np.uint8]:
    """Return the uint8 array in a file, of so many axes, each at most so long; raises `StageError` if it is damaged."""
    try:
        with open_regular(path, prod(most) * 2 + 4096) as packed:
            file = cast("IO[bytes]", gzip.GzipFile(fileobj=packed) if path.suffix == ".gz" else packed)
            start = file.read(4 + 4 * axes)
            shape = tuple(np.frombuffer(start[4 : 4 + 4 * axes], ">u4").tolist()) if len(start) == 4 + 4 * axes else ()
            if start[:4] != UNSIGNED_BYTES + bytes([axes]) or not shape:
                raise _damaged(path, f"it is no idx file of unsigned bytes with {axes} axes")
            if any(length > longest for length, longest in zip(shape, most, strict=True)):
                raise _damaged(path, f"it says that it holds {_by(shape)}, which is more than {_by(most)}")
            content = file.read(prod(shape) + 1)  # one more than there should be
    except (OSError, EOFError, zlib.error) as error:
        raise _damaged(path, getattr(error, "strerror", None) or str(error)) from error
    if len(content) != prod(shape):
        more = "more" if len(content) > prod(shape) else f"only {len(content):,}"
        raise _damaged(path, f"it should hold {prod(shape):,} bytes ({_by(shape)}), but holds {more}")
    return np.frombuffer(content, np.uint8).reshape(shape).copy()


def _by(shape: tuple[int, ...]) -> str:
    return "x".join(map(str, shape))


def _damaged(path: Path, why: str) -> StageError:
    return StageError(f"'{path}' is damaged: {why}; put a sound copy there", "source")
