"""Opening files that somebody else may have placed: regular ones alone, and no larger than is asked for.

What is refused is an `OSError` with a text, as if the system had said so.
"""

from __future__ import annotations

import os
from errno import EFBIG, EINVAL, EISDIR
from pathlib import Path
from stat import S_ISDIR, S_ISREG
from typing import IO


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
        raise OSError(EFBIG, f"has {status.st_size:,} bytes, at most {most:,} are read", str(path))


def read_bytes(path: Path, most: int | None = None) -> bytes:
    """Return the content of a regular file of at most so many bytes."""
    with open_regular(path, most) as file:
        return file.read() if most is None else file.read(most)


def read_text(path: Path, most: int) -> str:
    """Return the text of a regular file of at most so many bytes; raises `UnicodeDecodeError` if it is none."""
    return read_bytes(path, most).decode("utf-8").replace("\r\n", "\n").replace("\r", "\n")
