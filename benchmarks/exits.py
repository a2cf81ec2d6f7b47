"""The figures of docs/predictive-exit.md: tables in Markdown, and all of them in docs/benchmarks/predict-exit.json.

Not a test; run it where the runs that the page names have been made:

    python benchmarks/exits.py runs/bof runs/pool
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

JSON = Path(__file__).parent.parent / "docs/benchmarks/predict-exit.json"
DROP = 0.005
KEPT = ("profile", "deadline", "deadline_ms", "policies", "deadlines", "sensitivity", "notes")


def interval(value: float, low_high: list[float] | None, form: str) -> str:
    """Give a value with its interval."""
    return format(value, form) + (f" ({low_high[0]:{form}}..{low_high[1]:{form}})" if low_high else "")


def table(head: list[str], rows: list[list[str]]) -> str:
    """Give a table in Markdown."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines) + "\n"


def savings(found: dict[str, Any]) -> str:
    """Give MACs at equal accuracy, policy by policy."""
    rows = []
    for one in found["savings"]:
        if one["drop"] != DROP or one["policy"] == "classic":
            continue
        cells = ["not reached"] * 3
        if one["macs"] is not None:
            against = [interval(one[key], one[f"{key}_ci95"], ".1%") for key in ("saved_classic", "saved_passive")]
            cells = [f"{one['macs'] / 1e6:.1f}M", *against]
        rows.append([f"`{one['policy']}`", *cells])
    return table(["policy", "MACs", "saved against classic", "saved against the best passive policy"], rows)


def worth(first: str, entries: list[tuple[str, dict[str, Any]]]) -> str:
    """Give best passive, ours and oracle in mJ, line by line."""
    rows = []
    for name, one in entries:
        who = [f"{one[role]['energy_mj_mean']:.3f} ({one[role]['policy']}, {one[role]['governor']})" for role in ROLES]
        gap = one["gap_closed"]
        closed = "no gap" if gap is None else interval(gap, one["gap_closed_ci95"], ".0%")
        saved = interval(one["saved_passive"], one["saved_passive_ci95"], ".1%")
        better = interval(one["score_difference"], one["score_difference_ci95"], "+.2%")
        rows.append([name, *who, saved, better, closed])
    head = [first, "best passive, mJ", "ours, mJ", "oracle, mJ", "saved", "accuracy on test", "of the gap closed"]
    return table(head, rows)


ROLES = ("passive", "ours", "oracle")


def crossed(found: dict[str, Any]) -> str:
    """Give mean energies of every policy under every governor at every deadline, with the deadlines that are missed."""
    rows: dict[tuple[str, str], list[str]] = {}
    for deadline in found["deadlines"]:
        for row in deadline["rows"]:
            missed = row["deadline_miss_rate"]
            cell = interval(row["energy_mj_mean"], row["energy_mj_ci95"], ".2f")
            cells = rows.setdefault((row["policy"], row["governor"]), [])
            cells.append(cell + (f", **{missed:.1%} late**" if missed else ""))
    head = ["policy", "governor", *(f"{one['deadline']}, mJ" for one in found["deadlines"])]
    return table(head, [[f"`{policy}`", f"`{governor}`", *cells] for (policy, governor), cells in rows.items()])


def rounded(value: Any) -> Any:
    """Give six digits of every number."""
    if isinstance(value, float):
        return float(f"{value:.6g}")
    if isinstance(value, list):
        return [rounded(one) for one in value]
    return {key: rounded(one) for key, one in value.items()} if isinstance(value, dict) else value


def compact(found: dict[str, Any]) -> str:
    """Return JSON with a line for each entry, and for each item of an entry that is a list of mappings."""
    return "{\n" + ",\n".join(f"{json.dumps(key)}: {_entry(value)}" for key, value in found.items()) + "\n}\n"


def _entry(value: Any) -> str:
    if isinstance(value, list) and value and isinstance(value[0], dict):
        return "[\n" + ",\n".join(map(_line, value)) + "\n]"
    return _line(value)


def _line(value: Any) -> str:
    return json.dumps(value, separators=(",", ":"))


def main() -> None:
    networks = []
    for run in map(Path, sys.argv[1:]):
        report = json.loads((run / "report.json").read_text())
        devices = [json.loads(path.read_text()) for path in sorted(run.glob("predict-exit/*/predict-exit.json"))]
        print(f"\n## {run.name}\n\n{savings(devices[0])}")
        for found in devices:
            print(f"### {found['profile']}\n")
            print(worth("deadline", [(one["deadline"], one["worth"]) for one in found["deadlines"]]))
            print(worth("change", [(one["change"], one) for one in found["sensitivity"]]))
            print(crossed(found))
        networks.append(
            {
                "name": run.name,
                "recipe": (run / "recipe.yaml").read_text(),
                "environment": report["environment"],
                "stages": [{key: stage[key] for key in ("name", "metric_value", "macs")} for stage in report["stages"]],
                "full_macs": devices[0]["full_macs"],
                "predictor_macs": devices[0]["predictor_macs"],
                "calibration_error": devices[0]["calibration_error"],
                "savings": devices[0]["savings"],
                "curves": devices[0]["curves"],
                "devices": [{key: found[key] for key in KEPT} for found in devices],
            }
        )
    found = {"chosen_on": "validation", "n_test": devices[0]["n_test"], "energy": "model", "networks": networks}
    JSON.write_text(compact(rounded(found)))


if __name__ == "__main__":
    main()
