"""Thousands of hostile cases by group, and mutants of a checkpoint, once for a note.

python benchmarks/hostile.py 5000 2000 docs/benchmarks/hostile.json   so many cases a group, so many mutants

What ran is kept beside the record, a group a file, so that the same command goes on where it was stopped.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from contextlib import closing
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tests/helpers")]
import checkout  # noqa: E402
from forked import Server  # noqa: E402
from hostile_cases import GROUPS  # noqa: E402
from hostile_cases.case import Stock  # noqa: E402
from hostile_cases.tally import MUTANTS, run_group  # noqa: E402
from record import machine, versions  # noqa: E402
from sampling import seed  # noqa: E402


def measured(group: str, count: int, kept: Path) -> dict[str, Any]:
    """Run so many cases of a group."""
    begun = time.monotonic()
    with closing(Server()) as server, tempfile.TemporaryDirectory() as folder:
        tally = run_group(group, range(count), seed(), stock=Stock(Path(folder)), server=server, kept=kept)
    return {**tally.as_json(), "seconds": round(time.monotonic() - begun, 1), "commit": checkout.commit()}


def main() -> int:
    """Run what has not run yet, and write the record."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cases", type=int, help="of each group")
    parser.add_argument("mutants", type=int)
    parser.add_argument("file", type=Path)
    parser.add_argument("--kept", type=Path, default=Path(tempfile.gettempdir()) / "hostile", help="for what fails")
    asked = parser.parse_args()
    groups: dict[str, Any] = {}
    for group, count in {**dict.fromkeys(GROUPS, asked.cases), MUTANTS: asked.mutants}.items():
        part = asked.kept / f"{checkout.commit()[:12]}-{group}-{count}.json"
        if not part.is_file():
            found = measured(group, count, asked.kept)
            part.parent.mkdir(parents=True, exist_ok=True)
            part.write_text(json.dumps(found))
        groups[group] = json.loads(part.read_text())
        print(f"{group}: {groups[group]['cases']} cases, {len(groups[group]['failures'])} failures", flush=True)
    record = {
        "command": f"python benchmarks/hostile.py {asked.cases} {asked.mutants} {asked.file}",
        "commit": checkout.commit(),
        "uncommitted_changes": checkout.has_uncommitted_changes(),
        "seed": seed(),
        "machine": machine(),
        "versions": versions(),
        "cases": sum(one["cases"] for one in groups.values()),
        "failures": sum(len(one["failures"]) for one in groups.values()),
        "groups": groups,
    }
    asked.file.write_text(json.dumps(record, indent=1) + "\n")
    return int(record["failures"] > 0)


if __name__ == "__main__":
    sys.exit(main())
