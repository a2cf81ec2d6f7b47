"""Checksums of files."""

from __future__ import annotations

import hashlib
from pathlib import Path


def sha256_of(path: Path) -> str:
    """Return the SHA-256 of a file in hexadecimal; raises `OSError`."""
    return hashlib.sha256(path.read_bytes()).hexdigest()
