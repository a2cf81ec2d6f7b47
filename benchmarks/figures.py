"""The figures of docs/benchmarks.md: each is one command, which goes on where it was stopped and writes its JSON.

    python benchmarks/figures.py --list
    OMP_NUM_THREADS=1 python benchmarks/figures.py quickstart
    until python benchmarks/figures.py resnet34 vgg19 mobilenetv2 --minutes 9; do [ $? = 75 ] || break; done

Runs lie below runs/figures, and their stages in the cache of coc; data and checkpoints that recipes name lie where this
is run. The test images are used once a stage: nothing here chooses by them.
"""

from __future__ import annotations

import argparse
import json
import os
import shlex
import signal
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parents[1]
JSON, RUNS = ROOT / "docs/benchmarks", Path("runs/figures")
GOES_ON = 75  # exit code of a call whose time was over
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
    seeded: str = "seed"  # the recipe's key that a seed is given to
    cases: dict[str, tuple[str, ...]] = field(default_factory=lambda: {"": ()})  # what --set says, by name
    targets: dict[str, Target] = field(default_factory=dict)  # by case
    tuned_on: str = "validation"
    note: str = ""
    needs: str = "a GPU"  # each run, as was found or as it is estimated


def _bits(weights: int, activations: int, *more: str, place: int = 0) -> tuple[str, ...]:
    return tuple(f"chain.{place}.quantize.{one}" for one in (f"weights={weights}", f"activations={activations}", *more))


_few, _heads = partial(_bits, place=1), "chain.1.early_exit"
FIGURES = {
    "quickstart": Figure(
        "quickstart",
        "All four stages on handwritten digits",
        (400, 401, 402, 403, 404),
        tuned_on="validation, seeds 0 to 4",
        note="the second recipe that was run with these seeds; the first, with fewer epochs and views, had 97.94 %",
        needs="2 minutes",
    ),
    "regression": Figure("regression", "By how many degrees a digit was turned", (110, 111, 112), needs="10 minutes"),
    "lowbit": Figure(
        "cifar10-lowbit",
        "A foreign ResNet-20 for CIFAR-10, quantised alone",
        cases={"w4a4": _bits(4, 4), "w3a3": _bits(3, 3), "w2a2": _bits(2, 2, "weight_decay=3e-5")},
        targets={"w4a4": Target(61.5, 0.0015), "w3a3": Target(106.5, 0.006), "w2a2": Target(219.5, 0.02)},
        tuned_on="a student trained here, whose validation images are clean; epochs fixed beforehand",
        needs="40 minutes of a core",
    ),
    "resnet34": Figure(
        "cifar10-resnet34",
        "ResNet-34 on CIFAR-10, for a GPU",
        cases={"w2a3": (), "w2a2": ("chain.1.prune.ratio=0.6", "chain.2.quantize.activations=2")},
        targets={"w2a3": Target(1000, 0.001), "w2a2": Target(2000, 0.01)},
    ),
    "vgg19": Figure("cifar10-vgg19", "VGG-19 on CIFAR-10, for a GPU"),
    "mobilenetv2": Figure("cifar10-mobilenetv2", "MobileNetV2 on CIFAR-10, for a GPU"),
    "gpu-exits": Figure(
        "exits-cifar10",
        "An exit behind every convolution of the networks of Predictive Exit, for a GPU",
        cases={
            one: (f"model.arch=cifar:{one}", "model.width=64", "model.train.epochs=30", "chain.0.early_exit.epochs=5")
            for one in ("resnet34", "vgg19")
        },
    ),
    "student": Figure(
        "cifar10-resnet56", "A ResNet-20 for CIFAR-10, taught by a foreign ResNet-56", needs="3 hours of a core"
    ),
    "control": Figure(
        "cifar10-resnet56",
        "The student's shape, trained for as many epochs without a teacher",
        cases={"": ("chain.0.distill.kd_weight=0", "chain.0.distill.teacher_views=0")},
        needs="3 hours of a core",
    ),
    "exits": Figure(
        "cifar10-student-exits",
        "An exit behind every convolution of the student, as coc predict-exit compares them",
        (0, 1, 2),
        f"{_heads}.seed",
        cases={
            f"{head}-{backbone}": (f"{_heads}.backbone={backbone}", f"{_heads}.head={head}", *more)
            for backbone in ("frozen", "trained")
            for head, more in {"pool": (), "bof": (f"{_heads}.codewords=16", f"{_heads}.epochs=3")}.items()
        },
        needs="half an hour of a core",
    ),
    "chain": Figure(
        "cifar10-chain",
        "A foreign ResNet-56 for CIFAR-10: distilled, pruned, quantised, with exits",
        cases={"w3a3": _bits(3, 3, place=2)},
        targets={"w3a3": Target(400, 0.02)},
        note="a point of the curve: pruning took 0.47 points for 1.11x, so the others go without it",
        needs="an hour and a half of a core",
    ),
    "unpruned": Figure(
        "cifar10-unpruned",
        "The curve on CIFAR-10: a foreign ResNet-56, distilled, quantised, with exits",
        cases={
            "w4a4": _few(4, 4),
            "w3a3": _few(3, 3),
            "w2a3": _few(2, 3, "lr=0.02", "weight_decay=5e-5"),
            "w2a2": _few(2, 2, "lr=0.02", "weight_decay=3e-5"),
        },
        targets={"w3a3": Target(200, 0.01), "w2a3": Target(400, 0.02)},
        tuned_on="nothing: rates and epochs were fixed beforehand",
        note="each point is one run of the whole chain with the same student",
        needs="an hour of a core",
    ),
}


def _folder(name: str, case: str, seed: int) -> Path:
    return RUNS / "-".join(part for part in (name, case, str(seed)) if part)


@dataclass(frozen=True)
class Session:
    """How this call of the program works."""

    ends: float = float("inf")  # in time.monotonic
    is_rehearsal: bool = False

    def compress(self, recipe: Path, sets: list[str], out: Path) -> None:
        """Run `coc compress`, until its end or that of the session; the same call goes on then."""
        if self.is_rehearsal:
            sets, out = [*sets, *shortened(recipe)], RUNS / "rehearsal" / out.name
        command = [sys.executable, "-m", "coc_cli", "compress", str(recipe), "--out", str(out)]
        command += [word for one in sets for word in ("--set", one)]
        child = subprocess.Popen(command)
        try:
            code = child.wait(None if self.ends == float("inf") else max(1.0, self.ends - time.monotonic()))
        except subprocess.TimeoutExpired:
            child.send_signal(signal.SIGINT)
            child.wait()
            print("time is over; the same command goes on")
            raise SystemExit(GOES_ON) from None
        if code not in (0, 3):  # 3: a limit of the recipe is missed, which the figures show
            raise SystemExit(f"{shlex.join(command)} ended with {code}; the same command goes on")


def shortened(recipe: Path) -> list[str]:
    """Return what --set says to try a recipe's path in minutes: narrow, on few images, an epoch a stage."""
    content = yaml.safe_load(recipe.read_text())
    sets = ["data.limit=200", "limits.max_drop=100"]
    if "train" in content["model"]:
        sets += ["model.train.epochs=1", "model.width=4"]
    for index, (name, keys) in enumerate(pair for link in content["chain"] for pair in link.items()):
        sets.append(f"chain.{index}.{name}.epochs=1")
        sets += [f"chain.{index}.{name}.student.width=4"] if "width" in keys.get("student", {}) else []
        sets += [f"chain.{index}.{name}.max_drop=0.5"] if name == "early_exit" else []
        sets += [f"chain.{index}.{name}.teacher_views=1"] if "teacher_views" in keys else []
    return sets


def run(name: str, figure: Figure, case: str, seed: int, session: Session) -> dict[str, Any]:
    """Run the recipe for a case and a seed, or take what is there, and return what its report says."""
    out = _folder(name, case, seed)
    sets = [f"{figure.seeded}={seed}", *figure.cases[case]]
    session.compress(ROOT / "recipes" / f"{figure.recipe}.yaml", sets, out)
    out = RUNS / "rehearsal" / out.name if session.is_rehearsal else out
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
    made = [one for one in runs if "environment" in one][-1]
    environment = {**made["environment"], "threads": int(os.environ.get("OMP_NUM_THREADS", "0")) or os.cpu_count()}
    grouped = {case: [one for one in runs if one["case"] == case] for case in figure.cases}
    head = {
        "recipe": figure.recipe,
        "about": figure.about,
        "metric": made["metric"],
        "command": f"OMP_NUM_THREADS={environment['threads']} python benchmarks/figures.py {name}",
        "tuned_on": figure.tuned_on,
        **({"note": figure.note} if figure.note else {}),
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
    parser.add_argument("--minutes", type=float, help=f"stop then, exit code {GOES_ON}; the same command goes on")
    parser.add_argument("--rehearse", action="store_true", help="go the whole way narrow and short, and write no JSON")
    asked = parser.parse_args()
    ends = time.monotonic() + 60 * asked.minutes if asked.minutes else float("inf")
    session = Session(ends, asked.rehearse)
    if asked.list or not asked.names:
        print("\n".join(f"{name:12} {figure.about}" for name, figure in FIGURES.items()))
    for name in asked.names:
        figure = FIGURES[name]
        runs = {case: _kept(name, case) for case in figure.cases}
        for case in figure.cases:
            is_there = all((_folder(name, case, seed) / "report.json").is_file() for seed in figure.seeds)
            if asked.case in (None, case) or (is_there and not asked.rehearse):
                runs[case] = [run(name, figure, case, seed, session) for seed in figure.seeds]
                if not asked.rehearse:
                    write(name, figure, [one for those in runs.values() for one in those])


def _kept(name: str, case: str) -> list[dict[str, Any]]:
    """Return the runs of a case that the JSON has: their folders may be gone."""
    path = JSON / f"{name}.json"
    content = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {"runs": []}
    return [one for one in content["runs"] if one["case"] == case]


if __name__ == "__main__":
    main()
