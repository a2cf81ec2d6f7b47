"""Writing files completely or not at all, and holding a lock while at it. POSIX only: locks are flock's."""

from __future__ import annotations

import fcntl
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, NoReturn

_BESIDE = re.compile(r"\..+\.([0-9]{1,10})")


def write_atomically(path: Path, content: bytes) -> None:
    """Write a file so that a reader, a killed writer or a power cut never leaves half of it under that name."""
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        beside.unlink(missing_ok=True)
        with beside.open("xb") as file:  # never through a link
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        beside.replace(path)
        _sync_folder(path.parent)
    except OSError as error:
        with suppress(OSError):
            beside.unlink(missing_ok=True)
        _raise_at(path, error)


def is_abandoned(path: Path) -> bool:
    """Return whether a file is what a writer that is gone has left beside the one that it was to become."""
    match = _BESIDE.fullmatch(path.name)
    if not match or path.is_symlink() or not path.is_file():
        return False
    try:
        os.kill(int(match[1]), 0)
    except (ProcessLookupError, OverflowError):
        return True
    except PermissionError:
        return False
    return int(match[1]) == os.getpid()  # an earlier process of this number: nothing of ours is being written


def _sync_folder(folder: Path) -> None:
    """Make a rename in a folder outlast a power cut."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _raise_at(path: Path, error: OSError) -> NoReturn:
    """Raise an error with the file's name, for of a full disk the system names none."""
    if error.errno is None:
        raise error
    raise OSError(error.errno, error.strerror, str(path)) from error


def append(path: Path, content: bytes) -> None:
    """Append to a file, as with `open_to_write`."""
    try:
        with open_to_write(path) as file:
            file.write(content)
    except OSError as error:
        _raise_at(path, error)


def open_to_write(path: Path) -> IO[bytes]:
    """Open a file, made if it is not there, to append to it; a link is refused, a pipe never waited for."""
    flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    return os.fdopen(os.open(path, flags, 0o666), "ab")


@contextmanager
def locked(path: Path, *, wait: bool) -> Iterator[None]:
    """Hold a lock file exclusively, waiting for its holder; without `wait`, raises `BlockingIOError` if there is one.

    Raises any other `OSError` where the file cannot be opened, or is a link.
    """
    with open_to_write(path) as file:
        fcntl.flock(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        yield
