"""What the cache below the current directory holds, who needs it, and removing it; no torch here.

Nothing outside `runs/.cache` is removed, no link is followed, and what is no entry of coc's is left alone.
"""

from __future__ import annotations

import os
import re
import shutil
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

from coc_cli.errors import UserError, user_error
from coc_cli.files import budget
from coc_cli.files.atomic import locked
from coc_cli.files.opening import open_regular, parse_json
from coc_cli.files.run_directory import ANSWERS, CACHE, DATA, LOG, RESULT, RUNS, STAGE_RESULT
from coc_cli.nets.checkpoint_header import METADATA_KEY, raw_header

NAME = re.compile(r"([0-9a-f]{32}(?:-some)?)(?:\.part)?")  # the group is what the lock is called
SIZE = re.compile(r"(\d+(?:\.\d+)?) ?([kMGT]?)B?", re.IGNORECASE)
UNITS = ("", "k", "m", "g", "t")
DAY_SECONDS = 86_400.0
STAGE, UNFINISHED, IMAGES = "stages", "training states of an unfinished stage", "decoded images"
SAID = "answers of a teacher"
KINDS = {DATA: IMAGES, ANSWERS: SAID}  # of the folders in the cache that hold no stages


@dataclass(frozen=True)
class Entry:
    """A stage's result, the states of a training that is not at its end, decoded images, or answers of a teacher."""

    path: Path
    kind: str
    bytes: int
    used: float  # when, in seconds since 1970
    runs: tuple[Path, ...] = ()  # run directories below `runs` that need it; of images and answers that is not known

    @property
    def lock(self) -> Path:
        """The file that is locked by whoever makes or reads the entry."""
        found = NAME.fullmatch(self.path.name)
        assert found
        return self.path.with_name(f"{found[1]}.lock")


def list_entries() -> list[Entry]:
    """Return the entries of the cache, those that were used last first; raises `UserError`."""
    try:
        found = [*_folders(CACHE), *_folders(CACHE / DATA), *_folders(CACHE / ANSWERS)]
        needed = _needed() if found else {}
    except OSError as error:
        what = f"cannot be read: {error.strerror}; run coc cache as the user who made it"
        raise user_error(error.filename or CACHE, what) from error
    entries = [replace(entry, runs=tuple(needed.get(entry.path.name, ()))) for entry in found]
    return sorted(entries, key=lambda entry: (-entry.used, entry.path))


def to_remove(entries: Sequence[Entry], keep_days: float | None, max_bytes: str | None) -> list[Entry]:
    """Return what to remove, in that order: what was not used for so many days, then what does not fit into a size.

    First goes what no run needs, then what was used the longest ago. Raises `UserError`.
    """
    if keep_days is not None and not keep_days >= 0:
        raise user_error("--keep-days", f"is {keep_days:g}; give 0 or more")
    oldest = -1.0 if keep_days is None else time.time() - keep_days * DAY_SECONDS
    left = sum(entry.bytes for entry in entries)
    most = left if max_bytes is None else _size(max_bytes)
    removed = []
    for entry in sorted(entries, key=lambda entry: (entry.used > oldest, bool(entry.runs), entry.used)):
        if entry.used <= oldest or left > most:
            removed.append(entry)
            left -= entry.bytes
    return removed


def remove(entry: Entry) -> bool:
    """Remove an entry and return True, or False if a run holds it; raises `UserError`."""
    try:
        with locked(entry.lock, wait=False):
            shutil.rmtree(entry.path)
    except BlockingIOError:
        return False
    except OSError as error:
        raise user_error(entry.path, f"cannot be removed: {error.strerror or error}; remove it by hand") from error
    return True


def _size(text: str) -> float:
    found = SIZE.fullmatch(text.strip())
    if not found:
        raise user_error("--max-bytes", f"'{text}' is no size; write it like 500MB or 2GB")
    return float(found[1]) * 1000.0 ** UNITS.index(found[2].lower())


def _folders(cache: Path) -> Iterator[Entry]:
    if cache.is_symlink():
        raise user_error(cache, "is a link, which coc cache does not follow; remove by hand what it leads to")
    for path in sorted(cache.iterdir()) if cache.is_dir() else ():
        if NAME.fullmatch(path.name) and path.is_dir() and not path.is_symlink():
            is_finished = (path / STAGE_RESULT).exists()
            kind = STAGE if is_finished else UNFINISHED
            yield Entry(path, KINDS.get(cache.name, kind), _bytes(path), path.stat().st_mtime)


def _bytes(folder: Path) -> int:
    total = 0
    for place, _, names in os.walk(folder):
        for name in names:
            with suppress(FileNotFoundError):  # a run at work renames what it writes
                total += (Path(place) / name).lstat().st_size
    return total


def _needed() -> dict[str, list[Path]]:
    """Return the run directories below `runs` by the key of each entry that they need."""
    needed: dict[str, list[Path]] = {}
    for place, folders, names in os.walk(RUNS):
        folders[:] = sorted(name for name in folders if Path(place) / name != CACHE)
        run = Path(place)
        if LOG in names and (run / LOG).is_file():
            for key in sorted({*map(_key_of, run.glob(f"stages/*/{RESULT}")), _begun(run / LOG)}):
                needed.setdefault(key, []).append(run)
    return needed


def _key_of(checkpoint: Path) -> str:
    """Return the last key of a checkpoint's lineage; empty if it cannot be read."""
    try:
        return str(parse_json(raw_header(checkpoint)["__metadata__"][METADATA_KEY])["lineage"][-1]["key"])
    except (UserError, OSError, ValueError, LookupError, TypeError, RecursionError):
        return ""


def _begun(log: Path) -> str:
    """Return the key of the stage that a run began last; empty if its log does not say."""
    key = ""
    with suppress(FileNotFoundError), open_regular(log, budget.JSON_BYTES) as file:
        for line in file:
            if b'"event": "begin"' in line:
                with suppress(ValueError, AttributeError, RecursionError):
                    key = str(parse_json(line).get("key", ""))
    return key
