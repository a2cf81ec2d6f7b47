"""What exits and their prediction save on networks trained here, for docs/predictive-exit.md.

    OMP_NUM_THREADS=1 python benchmarks/predict.py --profile cortex-m7 --profile mine.yaml RUN...

Each RUN is a run directory with exits, as `benchmarks/figures.py exits` leaves them, named KIND-SEED: seeds of one kind
are taken together. The network runs once, all deadlines of a device share its policies. Each run on each device is kept
below runs/predict; the same command goes on. Energies are a model, read at equal score on test.
"""

from __future__ import annotations

import argparse
import json
import os
import shlex
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from coc_cli.chain.result import environment
from coc_cli.exits.benefit import DEADLINES
from coc_cli.exits.collect_traces import workload
from coc_cli.exits.equal_score import at_equal_score, saved_by
from coc_cli.exits.policies import names_in
from coc_cli.exits.policy_governor_grid import best, scheduled
from coc_cli.exits.predict_exit import make_grid, make_traces
from coc_cli.exits.request import prepare
from coc_cli.nets.checkpoint import load
from coc_cli.order.verdicts import effect
from coc_cli.report.schema.part import as_data

ROOT = Path(__file__).resolve().parents[1]
KEPT, JSON = Path("runs/predict"), ROOT / "docs/benchmarks/predict.json"


def measured(run: Path, profile: str) -> list[dict[str, Any]]:
    """Return what policies need on a device, an entry for each deadline."""
    request = prepare(run, profile=profile, device="cpu", trust_code=True)
    network, data = load(request.checkpoint, trust_code=True), request.recipe.images()
    validation, test = make_traces(request, network, data, print)
    grid = make_grid(request, validation, test, workload(request.header.spec), print)
    plain_ms, entries = grid.context.model().plain_ms, []
    for factor in DEADLINES:
        rows = grid.rows_at(factor * plain_ms)
        equal = at_equal_score(rows, grid.context, test, factor * plain_ms, request.max_drop)
        ours = best(rows, names_in("paper", "ours"))
        kept = [getattr(row.evaluated.policy, "measure", None) for row in rows if row.policy == "subset"]
        saved = saved_by(equal, ours.policy) if ours else {}
        one = {"profile": request.profile.name, "deadline": factor, "scheduled": scheduled(rows).policy}
        one |= {"full_accuracy": float(test.score[-1].mean()), "drop": request.max_drop, "n_test": len(test)}
        one["energy_mj"] = {name: float(energy[0]) for name, energy in equal.energy_mj.items()}
        one["subset"] = max((len(getattr(measure, "kept", ())) for measure in kept), default=0)
        one["ours"] = ours and {"policy": ours.policy, "governor": ours.governor.name}
        one["saved"] = {
            name: found and {"value": found.fraction, "ci95": found.ci95, "unread": found.unread}
            for name, found in saved.items()
        }
        subset = saved_by(equal, "subset")
        one["subset_saves"] = {
            name: found and {"value": found.fraction, "ci95": found.ci95}
            for name, found in subset.items()
            if name != "subset"
        }
        entries.append(one)
    return entries


def kept(run: Path, profile: str) -> list[dict[str, Any]]:
    """Return what was measured before, or measure it now."""
    path = KEPT / f"{run.name}-{Path(profile).stem}.json"
    if not path.is_file():
        print(f"{run} on {profile}", flush=True)
        KEPT.mkdir(parents=True, exist_ok=True)
        content = json.dumps(measured(run, profile))
        path.write_text(content)
    entries: list[dict[str, Any]] = json.loads(path.read_text())
    kind, _, seed = run.name.rpartition("-")
    return [{"kind": kind.removeprefix("exits-"), "seed": int(seed), **one} for one in entries]


def over_seeds(entries: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """Yield what is saved by kind, device, deadline and opponent: mean over seeds, and an interval of several."""
    groups: dict[tuple[str, str, float], list[dict[str, Any]]] = {}
    for one in entries:
        groups.setdefault((one["kind"], one["profile"], one["deadline"]), []).append(one)
    for (kind, profile, deadline), members in groups.items():
        for what in ("saved", "subset_saves"):
            for opponent in dict.fromkeys(name for one in members for name in one[what]):
                values = [one[what][opponent]["value"] for one in members if one[what].get(opponent)]
                if not values:
                    continue
                found = effect(values)
                head = {"kind": kind, "profile": profile, "deadline": deadline, "what": what, "opponent": opponent}
                yield {**head, "mean": found.mean, "ci95": found.ci95, "n": len(values), "of": len(members)}


def main() -> None:
    """Measure every run on every device, and write what they have in common."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", nargs="+", type=Path, metavar="RUN", help="a run directory, KIND-SEED")
    parser.add_argument("--profile", action="append", required=True, help="a device, or a profile's path; several")
    asked = parser.parse_args()
    entries = [one for run in asked.runs for profile in asked.profile for one in kept(run, profile)]

    threads, words = os.environ.get("OMP_NUM_THREADS", os.cpu_count()), shlex.join(sys.argv[1:])
    head = {
        "command": f"OMP_NUM_THREADS={threads} python benchmarks/predict.py {words}",
        "environment": as_data(environment("cpu")),
    }
    lines = ",\n".join(json.dumps(one) for one in entries)
    means = ",\n".join(json.dumps(one) for one in over_seeds(entries))
    start = json.dumps(head, indent=1).removesuffix("\n}")
    JSON.write_text(f'{start},\n "means": [\n{means}\n],\n "runs": [\n{lines}\n]}}\n')


if __name__ == "__main__":
    main()
