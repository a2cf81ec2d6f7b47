"""What each idea of a training is worth: one change at a time, measured on validation, over seeds.

    OMP_NUM_THREADS=1 python benchmarks/ablation.py training --seeds 3

Goes on where it was stopped. Where `cifar10.zip` is needed it lies where this is run. Nothing that is measured on
test images is used. Writes docs/benchmarks/ablation-NAME.json.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parents[1]
RUNS = Path("runs/ablation")
TENTH = {"train": 4500, "test": 500}
CIFAR = {"source": "folder:cifar10.zip", "size": 32, "channels": 3, "classes": 10, "limit": TENTH}
SGD = {"batch": 128, "optimizer": "sgd", "lr": 0.1, "weight_decay": 5e-4}


@dataclass(frozen=True)
class Ablation:
    """A recipe, and what is changed of it, key by key, in each variant."""

    about: str
    recipe: dict[str, Any]
    variants: dict[str, tuple[str, ...]]  # what --set says


TRAIN, AUGMENT = "model.train.", "data.augment."
QUANTIZE = "chain.0.quantize."
ABLATIONS = {
    "training": Ablation(
        "ResNet-20 trained on 4,500 images of CIFAR-10 for 30 epochs, accuracy on 5,000 validation images",
        {
            "data": {**CIFAR, "augment": {"shift": 4, "flip": True}},
            "model": {"arch": "cifar:resnet20", "width": 16, "train": {"epochs": 30, **SGD}},
            "chain": [],
        },
        {
            "as before": (),
            "flip alternating": (f"{AUGMENT}flip=alternating",),
            "padding reflect": (f"{AUGMENT}padding=reflect",),
            "cutout 8": (f"{AUGMENT}cutout=8",),
            "label smoothing 0.1": (f"{TRAIN}label_smoothing=0.1",),
            "rate ends at 0": (f"{TRAIN}final_lr=0",),
            "average 0.99": (f"{TRAIN}average=0.99",),
            "rate of norms x4": (f"{TRAIN}norm_lr=4",),
            "rate of norms x0.25": (f"{TRAIN}norm_lr=0.25",),
            "reflect, ends at 0, average 0.99": (
                f"{AUGMENT}padding=reflect",
                f"{TRAIN}final_lr=0",
                f"{TRAIN}average=0.99",
            ),
        },
    ),
    "digits": Ablation(
        "ResNet-14 of width 8 trained on digits for 15 epochs, accuracy on 360 validation images",
        {
            "data": {"source": "digits", "augment": {"shift": 1, "rotate": 10}},
            "model": {
                "arch": "cifar:resnet20",
                "depth": 14,
                "width": 8,
                "train": {"epochs": 15, "batch": 64, "lr": 3e-3},
            },
            "chain": [],
        },
        {
            "as before": (),
            "padding reflect": (f"{AUGMENT}padding=reflect",),
            "label smoothing 0.1": (f"{TRAIN}label_smoothing=0.1",),
            "rate ends at 0": (f"{TRAIN}final_lr=0",),
            "average 0.95": (f"{TRAIN}average=0.95",),
            "average 0.99": (f"{TRAIN}average=0.99",),
            "rate of norms x4": (f"{TRAIN}norm_lr=4",),
            "ends at 0, average 0.95": (f"{TRAIN}final_lr=0", f"{TRAIN}average=0.95"),
        },
    ),
}


STUDENT = "runs/figures/student-0/model.safetensors"  # of `python benchmarks/figures.py student`


def _low_bits(weights: int, activations: int) -> Ablation:
    """Return an ablation of what the published recipes for few bits have, from a student whose validation is clean."""
    keys = {
        "as before": (),
        "through 4 bits": (f"through=[[4,4]{',[3,3]' if weights < 3 else ''}]",),
        "normalised weights": ("weight_norm=true",),
        "rate of scales x0.1": ("scale_lr=0.1",),
        "rate of scales x10": ("scale_lr=10",),
        "decay 3e-5": ("weight_decay=3e-5",),
        "KL to the network before alone": ("teacher=incoming", "kd_weight=1"),
        "AdamW at 1e-3": ("optimizer=adamw", "lr=1e-3", "weight_decay=1e-4"),
        "average 0.99": ("average=0.99",),
        "twice the epochs": ("epochs=24",),
    }
    stage = {"weights": weights, "activations": activations, "epochs": 12, **SGD, "lr": 0.01}
    data = {**CIFAR, "validation": 0.05, "holdout": 0.05, "augment": {"shift": 4, "flip": True}}
    return Ablation(
        f"A ResNet-20 taught here, quantised to w{weights}a{activations} on 4,500 images, accuracy on validation",
        {"data": data, "model": {"checkpoint": STUDENT}, "chain": [{"quantize": stage}]},
        {name: tuple(f"{QUANTIZE}{one}" for one in changed) for name, changed in keys.items()},
    )


VIEWS = Ablation(
    "ResNet-20 taught by a foreign ResNet-56, 4,500 images of CIFAR-10, 40 epochs, accuracy on 5,000 validation images",
    {
        "data": {**CIFAR, "augment": {"shift": 4, "padding": "reflect", "flip": "alternating"}},
        "model": {
            "arch": "file:foreign_resnet.py:resnet56",
            "checkpoint": "resnet56-4bfd9763.th",
            "mean": [0.485, 0.456, 0.406],
            "std": [0.229, 0.224, 0.225],
        },
        "chain": [
            {
                "distill": {
                    "student": {"arch": "cifar:resnet20", "depth": 20, "width": 16},
                    "epochs": 40,
                    **SGD,
                    "final_lr": 0,
                    "kd_weight": 0.9,
                    "temperature": 4,
                }
            }
        ],
    },
    {
        "changed anew in every epoch": (),
        **{f"{views} views": (f"chain.0.distill.teacher_views={views}",) for views in (20, 5)},
    },
)
ABLATIONS |= {"views": VIEWS, "w3a3": _low_bits(3, 3), "w2a2": _low_bits(2, 2)}


def run(name: str, number: int, seed: int, ablation: Ablation) -> dict[str, Any]:
    """Train a variant with a seed, or take what is there; return its validation metric and the time."""
    variant = list(ablation.variants)[number]
    out = RUNS / f"{name}-{number}-{seed}"
    recipe = RUNS / f"{name}.yaml"
    recipe.parent.mkdir(parents=True, exist_ok=True)
    recipe.write_text(yaml.safe_dump({"name": name, **_from_here(ablation.recipe)}))
    command = [sys.executable, "-m", "coc_cli", "compress", str(recipe), "--out", str(out), "-q"]
    command += [word for one in (f"seed={seed}", *ablation.variants[variant]) for word in ("--set", one)]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    stage = json.loads((out / "report.json").read_text())["stages"][-1]
    return {"variant": variant, "seed": seed, "validation": stage["validation_value"], "seconds": stage["seconds"]}


def _from_here(recipe: dict[str, Any]) -> dict[str, Any]:
    """Return a recipe in which a checkpoint in the current folder, and a file of the recipes, are named whole."""
    model = dict(recipe["model"])
    if "checkpoint" in model:
        model["checkpoint"] = str(Path(model["checkpoint"]).resolve())
    model["arch"] = model.get("arch", "").replace("file:", f"file:{ROOT / 'recipes'}/")
    return {**recipe, "model": {key: value for key, value in model.items() if value}}


def summary(ablation: Ablation, runs: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return each variant's mean, and its paired difference to the first over seeds."""
    first = next(iter(ablation.variants))
    base = {one["seed"]: one["validation"] for one in runs if one["variant"] == first}
    rows = []
    for variant in ablation.variants:
        found = {one["seed"]: one["validation"] for one in runs if one["variant"] == variant}
        changes = [found[seed] - base[seed] for seed in found if seed in base]
        if found:
            deviation = statistics.stdev(changes) if len(changes) > 1 else None
            mean, change = statistics.mean(found.values()), statistics.mean(changes)
            rows.append({"variant": variant, "n": len(found), "mean": mean, "change": change, "deviation": deviation})
    return rows


def main() -> None:
    """Run an ablation seed by seed, and write its JSON after each run."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("name", choices=ABLATIONS)
    parser.add_argument("--seeds", type=int, default=3)
    asked = parser.parse_args()
    ablation, runs = ABLATIONS[asked.name], []
    for seed in range(asked.seeds):
        for number in range(len(ablation.variants)):
            runs.append(run(asked.name, number, seed, ablation))
            rows = summary(ablation, runs)
            content = {
                "command": f"OMP_NUM_THREADS=1 python benchmarks/ablation.py {asked.name} --seeds {asked.seeds}",
                "about": ablation.about, "recipe": ablation.recipe, "rows": rows, "runs": runs,
            }  # fmt: skip
            (ROOT / f"docs/benchmarks/ablation-{asked.name}.json").write_text(json.dumps(content, indent=1) + "\n")
            print(f"seed {seed}  {runs[-1]['variant']:34} {runs[-1]['validation']:.4f}", flush=True)


if __name__ == "__main__":
    main()
