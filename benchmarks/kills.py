"""The quickstart, killed 20 times: the same bytes as undisturbed; docs/benchmarks/kills.json has each kill.

Not a test (`tests/hostile/test_kills.py` does the same with a tiny recipe); takes some minutes:

    python benchmarks/kills.py
"""

from __future__ import annotations

import json
import random
import sys
import tempfile
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tests/helpers"))
from kills import SIGNALS, Runs, drawn, has_struck, left_over  # noqa: E402
from record import provenance  # noqa: E402
from sampling import seed  # noqa: E402
from tiny import results  # noqa: E402

RECIPE = ROOT / "recipes/quickstart.yaml"
RUN = Path("runs/quickstart")
KILLS, STEPS = 20, 250  # steps of writes, five an epoch: so many into a run, at most


def main() -> None:
    """Kill runs until 20 kills have struck, finish each, and write the record."""
    dice, rows, began = random.Random(seed()), list[dict[str, Any]](), time.monotonic()  # noqa: S311
    head = provenance()
    with tempfile.TemporaryDirectory() as place:
        undisturbed, killed = Path(place) / "undisturbed", Path(place) / "killed 0"
        undisturbed.mkdir()
        equal: list[bool] = []
        with Runs(undisturbed, RECIPE) as runs:
            seconds = time.monotonic() - began
            while len(rows) < KILLS or not (killed / "done").exists():
                killed.mkdir(exist_ok=True)
                kill = drawn(dice, SIGNALS[len(rows) % len(SIGNALS)], seconds / 4, STEPS) if len(rows) < KILLS else None
                ended = runs.compress(killed, kill)
                if kill and has_struck(ended, kill):
                    rows.append({"run": len(equal), **asdict(kill)})
                    print(rows[-1], flush=True)
                    continue
                assert ended.code == 0, ended
                equal.append(results(killed / RUN) == results(undisturbed / RUN) and not left_over(killed))
                print(f"run {len(equal)}: {equal[-1]}", flush=True)
                (killed / "done").touch()
                if len(rows) < KILLS:
                    killed = killed.with_name(f"killed {len(equal)}")
    record = {
        "command": "python benchmarks/kills.py",
        **head,
        "undisturbed_seconds": round(seconds),
        "seconds": round(time.monotonic() - began),
        "runs_end_in_the_same_bytes": equal,
        "kills": rows,
    }
    (ROOT / "docs/benchmarks/kills.json").write_text(json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    main()
