"""Opening files that somebody else may have placed: regular ones alone, and no larger than is asked for.

What is refused is an `OSError` with a text, as if the system had said so.
"""

from __future__ import annotations

import io
import json
import os
import struct
import zipfile
from errno import EINVAL, EISDIR, EOVERFLOW
from pathlib import Path
from stat import S_ISDIR, S_ISREG
from typing import IO, Any

from coc_cli.files import budget


def open_regular(path: Path, most: int | None = None) -> IO[bytes]:
    """Open a regular file of at most so many bytes for reading; a pipe or device is refused and never waited for."""
    _check(path, path.stat(), most)  # a device may do something when it is opened
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    file = os.fdopen(descriptor, "rb")
    try:
        _check(path, os.fstat(descriptor), most)
    except OSError:
        file.close()
        raise
    return file


def _check(path: Path, status: os.stat_result, most: int | None) -> None:
    if S_ISDIR(status.st_mode):
        raise IsADirectoryError(EISDIR, "Is a directory", str(path))
    if not S_ISREG(status.st_mode):
        raise OSError(EINVAL, "is a pipe or a device, no file", str(path))
    if most is not None and status.st_size > most:
        raise OSError(EOVERFLOW, f"has {status.st_size:,} bytes, at most {most:,} are read", str(path))


def is_file(path: Path) -> bool:
    """Return whether a path is that of a regular file; False for one that no file can have."""
    try:
        return S_ISREG(path.stat().st_mode)
    except (OSError, ValueError):
        return False


def read_bytes(path: Path, most: int | None = None) -> bytes:
    """Return the content of a regular file of at most so many bytes."""
    with open_regular(path, most) as file:
        return file.read() if most is None else file.read(most)


def read_text(path: Path, most: int) -> str:
    """Return the text of a regular file of at most so many bytes; raises `UnicodeDecodeError` if it is none."""
    return read_bytes(path, most).decode("utf-8").replace("\r\n", "\n").replace("\r", "\n")


def parse_json(text: str | bytes) -> Any:
    """Return the content of a JSON text; raises `ValueError` if it is none or holds too much, or `RecursionError`."""
    text = text if isinstance(text, str) else text.decode()
    if sum(map(text.count, "[{,")) > budget.JSON_VALUES:
        raise ValueError(f"holds more than {budget.JSON_VALUES:,} values")
    return json.loads(text)


class _Directory(io.FileIO):
    """A file of which no more is read at once than a .zip's directory may have."""

    def read(self, size: int | None = -1) -> bytes:
        """Read so many bytes."""
        if size and size > budget.DIRECTORY_BYTES:
            raise OSError(EOVERFLOW, f"lists its files in {size:,} bytes, at most {budget.DIRECTORY_BYTES:,} are read")
        return super().read(size) or b""


def zip_entries(path: Path) -> list[zipfile.ZipInfo]:
    """Return what a .zip says it holds; raises `OSError`, or `BadZipFile` whatever is wrong with it."""
    try:
        with _Directory(path) as file, zipfile.ZipFile(file) as archive:
            return [entry for entry in archive.infolist() if entry.filename]
    except (ValueError, NotImplementedError, struct.error) as error:
        raise zipfile.BadZipFile(str(error)) from error
