"""Thousands of hostile cases by group, and mutants of a checkpoint, once for a note.

python benchmarks/hostile.py 5000 2000 docs/benchmarks/hostile.json   so many cases a group, so many mutants

Each part is kept when it has run, so the same command goes on where it was stopped; the record is written after each.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections import Counter
from contextlib import closing
from pathlib import Path
from typing import Any

PART = 250
ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tests/helpers")]
from forked import Server  # noqa: E402
from hostile_cases import GROUPS  # noqa: E402
from hostile_cases.case import Stock  # noqa: E402
from hostile_cases.tally import MUTANTS, run_group  # noqa: E402
from record import provenance  # noqa: E402
from sampling import seed  # noqa: E402


def measured(group: str, numbers: range, by: int, kept: Path) -> dict[str, Any]:
    """Run the cases of some numbers of a group."""
    begun = time.monotonic()
    with closing(Server()) as server, tempfile.TemporaryDirectory() as folder:
        tally = run_group(group, numbers, by, stock=Stock(Path(folder)), server=server, kept=kept)
    return {**tally.as_json(), "seconds": round(time.monotonic() - begun, 1)}


def merged(parts: list[dict[str, Any]]) -> dict[str, Any]:
    """Return what some parts of a group come to together."""
    endings: Counter[str] = Counter()
    for part in parts:
        endings.update(part["endings"])
    return {
        "cases": sum(part["cases"] for part in parts),
        "failures": [failure for part in parts for failure in part["failures"]],
        "endings": dict(sorted(endings.items())),
        "most_memory_mb": max(part["most_memory_mb"] for part in parts),
        "most_cpu_s": max(part["most_cpu_s"] for part in parts),
        "seconds": round(sum(part["seconds"] for part in parts), 1),
    }


def main() -> int:
    """Run what has not run yet, and write the record after each part."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cases", type=int, help="of each group")
    parser.add_argument("mutants", type=int)
    parser.add_argument("file", type=Path)
    parser.add_argument(
        "--kept", type=Path, default=Path(tempfile.gettempdir()) / "hostile", help="parts, and what fails"
    )
    parser.add_argument("--only", choices=(*GROUPS, MUTANTS), nargs="*", help="of the groups; a record has all")
    asked = parser.parse_args()
    counts = {**dict.fromkeys(GROUPS, asked.cases), MUTANTS: asked.mutants}
    every = sorted(
        (start, group)
        for group, count in counts.items()
        if not asked.only or group in asked.only
        for start in range(0, count, PART)
    )
    head = {
        "command": f"python benchmarks/hostile.py {asked.cases} {asked.mutants} {asked.file}",
        **provenance(),
        "seed": seed(),
    }
    parts: dict[str, list[dict[str, Any]]] = {}
    for start, group in every:
        numbers = range(start, min(start + PART, counts[group]))
        file = asked.kept / f"{head['commit'][:12]}-{group}-{numbers.start}-{numbers.stop}.json"
        if not file.is_file():
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(json.dumps(measured(group, numbers, seed(), asked.kept)))
        parts.setdefault(group, []).append(json.loads(file.read_text()))
        groups = {name: merged(some) for name, some in parts.items()}
        totals = {"cases": sum(one["cases"] for one in groups.values())}
        totals["failures"] = sum(len(one["failures"]) for one in groups.values())
        asked.file.write_text(json.dumps({**head, **totals, "groups": groups}, indent=1) + "\n")
        print(f"{group} {numbers.start} to {numbers.stop}; in all {totals}", flush=True)
    return int(totals["failures"] > 0)


if __name__ == "__main__":
    sys.exit(main())
