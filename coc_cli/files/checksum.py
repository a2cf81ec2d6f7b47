"""Checksums of files, and of JSON contents that carry their own. They find damage, not an editor."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from coc_cli.files import budget
from coc_cli.files.opening import open_regular

BLOCK = 1 << 22  # bytes read at a time
CHECKSUM = "checksum"  # the key of a JSON file that holds the checksum of all the rest


def sha256_of(path: Path) -> str:
    """Return the SHA-256 of a file in hexadecimal; raises `OSError`."""
    digest = hashlib.sha256()
    with open_regular(path, budget.CHECKPOINT_BYTES) as file:
        while block := file.read(BLOCK):
            digest.update(block)
    return digest.hexdigest()


def _of_content(content: Mapping[str, Any]) -> str:
    rest = {key: value for key, value in content.items() if key != CHECKSUM}
    return hashlib.sha256(json.dumps(rest, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def sealed(content: Mapping[str, Any]) -> dict[str, Any]:
    """Return a JSON content with its checksum."""
    return {**content, CHECKSUM: _of_content(content)}


def is_whole(content: Mapping[str, Any]) -> bool:
    """Return whether a JSON content matches its checksum; one from before there were any does."""
    return CHECKSUM not in content or content[CHECKSUM] == _of_content(content)
