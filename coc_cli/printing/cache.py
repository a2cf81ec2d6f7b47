"""What `coc cache` prints: what the cache holds, and what goes."""

from __future__ import annotations

import time
from collections.abc import Sequence

from coc_cli.chain.cache_entries import DAY_SECONDS, KINDS, UNFINISHED, Entry, list_entries, remove, to_remove
from coc_cli.errors import user_error
from coc_cli.files.run_directory import CACHE, SPEEDS
from coc_cli.printing.table import print_line, print_table, table_of
from coc_cli.units import count, counted


def print_cache(keep_days: float | None, max_bytes: str | None, *, delete: bool) -> None:
    """Print what the cache holds by run, and what goes or would go; removes that if `delete`."""
    is_asked = keep_days is not None or max_bytes is not None
    if delete and not is_asked:
        raise user_error("--delete", "does not say what; add --keep-days N or --max-bytes SIZE (--keep-days 0: all)")
    entries = list_entries()
    going = to_remove(entries, keep_days, max_bytes)
    table = table_of(
        f"{CACHE}: {counted(len(entries), 'folder')}, {_size(entries)}", "needed by", "folders", "size", "used"
    )
    groups: dict[str, list[Entry]] = {}
    for entry in entries:
        for name in _users(entry):
            groups.setdefault(name, []).append(entry)
    for name in sorted(groups, key=lambda name: (name == NOBODY, name)):
        members = groups[name]
        table.add_row(name, str(len(members)), _size(members), _age(max(entry.used for entry in members)))
    print_table(table)
    if (CACHE / SPEEDS).is_file():
        print_line(f"{CACHE / SPEEDS}: how fast stages ran here, for the time that coc plan estimates; it stays")
    if is_asked:
        _go(going, delete=delete)


NOBODY = "no run below runs/"


def _users(entry: Entry) -> list[str]:
    """Return the names of the rows in which an entry counts."""
    if entry.kind in KINDS.values():
        return [entry.kind]
    suffix = f": {UNFINISHED}" if entry.kind == UNFINISHED else ""
    return [f"{run}{suffix}" for run in entry.runs] or [f"{NOBODY}{suffix}"]


def _go(going: Sequence[Entry], *, delete: bool) -> None:
    """Print each entry that goes, and remove it if `delete`."""
    gone = []
    for entry in going:
        if delete and not remove(entry):
            print(f"{entry.path}: a run is at work with it; it stays")
            continue
        gone.append(entry)
        whose = ", ".join(_users(entry))
        print(f"{'removed' if delete else 'would remove'} {entry.path}  {_size([entry])}, {_age(entry.used)}, {whose}")
    what = f"{counted(len(gone), 'folder')}, {_size(gone)}"
    print(f"removed {what}" if delete else f"would remove {what}; --delete removes them")


def _size(entries: Sequence[Entry]) -> str:
    return f"{count(sum(entry.bytes for entry in entries))}B"


def _age(used: float) -> str:
    days = int((time.time() - used) / DAY_SECONDS)
    return f"{counted(days, 'day')} ago" if days > 0 else "today"
