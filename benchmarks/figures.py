"""The figures of docs/benchmarks.md: each is one command, which goes on where it was stopped and writes its JSON.

    python benchmarks/figures.py --list
    OMP_NUM_THREADS=1 python benchmarks/figures.py quickstart

Runs lie below runs/figures, and their stages in the cache of coc; data and checkpoints that recipes name lie where this
is run. The test images are used once a stage: nothing here chooses by them.
"""

from __future__ import annotations

import argparse
import json
import os
import shlex
import statistics
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
JSON, RUNS = ROOT / "docs/benchmarks", Path("runs/figures")
LEFT_OUT = {"environment", "layers", "exits", "latency_ms"}  # of a stage in report.json


@dataclass(frozen=True)
class Target:
    """What a case is to reach: a strict ratio of BitOps at a loss of the metric, means over seeds."""

    ratio: float
    drop: float  # of the accuracy

    def __str__(self) -> str:
        return f">= {self.ratio:g}x at <= {100 * self.drop:.2g} points"


@dataclass(frozen=True)
class Figure:
    """A recipe, run for some seeds in some cases."""

    recipe: str
    about: str
    seeds: tuple[int, ...] = (0,)
    cases: dict[str, tuple[str, ...]] = field(default_factory=lambda: {"": ()})  # what --set says, by name
    targets: dict[str, Target] = field(default_factory=dict)  # by case
    tuned_on: str = "validation"


def _bits(weights: int, activations: int, *more: str) -> tuple[str, ...]:
    first = "chain.0.quantize."
    return f"{first}weights={weights}", f"{first}activations={activations}", *(f"{first}{one}" for one in more)


FIGURES = {
    "quickstart": Figure(
        "quickstart",
        "All four stages on handwritten digits",
        (400, 401, 402, 403, 404),
        tuned_on="validation, seeds 0 to 4",
    ),
    "regression": Figure("regression", "By how many degrees a digit was turned", (110, 111, 112)),
    "lowbit": Figure(
        "cifar10-lowbit",
        "A foreign ResNet-20 for CIFAR-10, quantised alone",
        cases={"w4a4": _bits(4, 4), "w3a3": _bits(3, 3), "w2a2": _bits(2, 2, "weight_decay=3e-5")},
        targets={"w4a4": Target(62, 0.0015), "w3a3": Target(107, 0.006), "w2a2": Target(220, 0.02)},
        tuned_on="a student trained here, whose validation images are clean; epochs fixed beforehand",
    ),
    "student": Figure("cifar10-resnet56", "A ResNet-20 for CIFAR-10, taught by a foreign ResNet-56"),
}


def _folder(name: str, case: str, seed: int) -> Path:
    return RUNS / "-".join(part for part in (name, case, str(seed)) if part)


def run(name: str, figure: Figure, case: str, seed: int) -> dict[str, Any]:
    """Run the recipe for a case and a seed, or take what is there, and return what its report says."""
    out = _folder(name, case, seed)
    sets = [f"seed={seed}", *figure.cases[case]]
    recipe = ROOT / "recipes" / f"{figure.recipe}.yaml"
    command = [sys.executable, "-m", "coc_cli", "compress", str(recipe), "--out", str(out)]
    command += [word for one in sets for word in ("--set", one)]
    code = subprocess.run(command, check=False).returncode
    if code not in (0, 3):  # 3: a limit of the recipe is missed, which the figures show
        raise SystemExit(f"{shlex.join(command)} ended with {code}; the same command goes on")
    report = json.loads((out / "report.json").read_text())
    stages = [{key: value for key, value in stage.items() if key not in LEFT_OUT} for stage in report["stages"]]
    changes = dict(_changes(out))
    for stage in stages:
        stage["change"] = changes.get(stage["index"])
    about = {key: report[key] for key in ("metric", "environment")}
    return {"case": case, "seed": seed, "sets": sets, "stages": stages, **about}


def _changes(out: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield the change of the metric against the baseline, with its paired interval, of each stage."""
    from coc_cli.report.read.run import read_runs

    (read,) = read_runs([out])
    for stage in read.stages:
        if stage.change is not None:
            yield stage.index, {"value": stage.change.value, "ci95": stage.change.ci95}


def verdict(figure: Figure, case: str, runs: list[dict[str, Any]]) -> dict[str, Any]:
    """Return whether a target is met by the means over seeds, and by how much not."""
    target, last = figure.targets[case], [one["stages"][-1] for one in runs]
    ratio = statistics.mean(stage["bitops_ratio"] for stage in last)
    drop = -statistics.mean(stage["change"]["value"] for stage in last)
    is_met = ratio >= target.ratio and drop <= target.drop
    return {"case": case, "target": str(target), "ratio": ratio, "drop": drop, "met": is_met, "n": len(runs)}


def write(name: str, figure: Figure, runs: list[dict[str, Any]]) -> None:
    """Write a figure's JSON: a line for each run."""
    environment = {**runs[-1]["environment"], "threads": int(os.environ.get("OMP_NUM_THREADS", "0")) or os.cpu_count()}
    grouped = {case: [one for one in runs if one["case"] == case] for case in figure.cases}
    head = {
        "recipe": figure.recipe,
        "about": figure.about,
        "metric": runs[-1]["metric"],
        "command": f"OMP_NUM_THREADS={environment['threads']} python benchmarks/figures.py {name}",
        "tuned_on": figure.tuned_on,
        "targets": [verdict(figure, case, grouped[case]) for case in figure.targets if grouped[case]],
        "environment": environment,
    }
    lines = [json.dumps({key: one[key] for key in ("case", "seed", "sets", "stages")}) for one in runs]
    start = json.dumps(head, indent=1).removesuffix("\n}")
    JSON.joinpath(f"{name}.json").write_text(f'{start},\n "runs": [\n' + ",\n".join(lines) + "\n]}\n")


def main() -> None:
    """Make the figures that are asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", choices=[[], *FIGURES], metavar="NAME")
    parser.add_argument("--list", action="store_true", help="name the figures")
    parser.add_argument("--case", help="one case alone; the JSON then has the cases that were made so far")
    asked = parser.parse_args()
    if asked.list or not asked.names:
        print("\n".join(f"{name:12} {figure.about}" for name, figure in FIGURES.items()))
    for name in asked.names:
        figure, runs = FIGURES[name], []
        for case in figure.cases:
            is_there = all(
                (RUNS / "-".join(p for p in (name, case, str(s)) if p) / "report.json").is_file() for s in figure.seeds
            )
            if asked.case in (None, case) or is_there:
                runs += [run(name, figure, case, seed) for seed in figure.seeds]
                write(name, figure, runs)


if __name__ == "__main__":
    main()
