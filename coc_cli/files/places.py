"""A path as one text, however it is written."""

from __future__ import annotations

import os
from pathlib import Path


def from_here(path: Path) -> Path:
    """Return a path from the current directory if it lies below, else absolute; only a link at its end stays one."""
    real = path.resolve() if path.name in ("", "..") else path.parent.resolve() / path.name
    return real.relative_to(Path.cwd()) if real.is_relative_to(Path.cwd()) else real


def from_folder(path: Path, folder: Path) -> Path:
    """Return a path that is relative to the current directory as one that is relative to a folder."""
    return Path(os.path.relpath(path.absolute().parent.resolve() / path.name, folder.resolve()))
