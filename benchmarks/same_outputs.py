"""Whether two versions of coc write the same files: checkpoints to the byte, JSON in values and in key order.

Not a test; a refactoring keeps the outputs of the version before and compares its own with them:

    python benchmarks/same_outputs.py record OLD --data cifar10.zip     # with the old version installed
    python benchmarks/same_outputs.py record NEW --data cifar10.zip     # with the new one
    python benchmarks/same_outputs.py compare OLD NEW

`record` runs the quickstart, exits-digits, regression and table recipes in a folder (about ten minutes on 2 cores) and
plans every recipe. Times, dates and versions are left out of the comparison, and so is what is allowed to have changed:
`family`, which predict-exit.json gained.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

RECIPES = Path(__file__).resolve().parents[1] / "recipes"
RUNS = ("quickstart", "exits-digits", "regression", "table")
VARYING = {"seconds", "environment", "date", "command", "torch", "coc", "family", "fit_seconds", "plan_seconds"}


def run(folder: Path, *arguments: str) -> str:
    """Return what one command of coc prints, errors and exit code too."""
    done = subprocess.run(
        [sys.executable, "-m", "coc_cli", *arguments],
        cwd=folder,
        env={**os.environ, "COLUMNS": "200"},
        capture_output=True,
        text=True,
        check=False,
    )
    return f"{done.stdout}\n--- stderr\n{done.stderr}\n--- exit code {done.returncode}\n"


def record(folder: Path, data: Path | None, recipes: Path) -> None:
    """Run the recipes in `folder` and keep the plans of all."""
    folder.mkdir(parents=True)
    plans = folder / "plans"
    plans.mkdir()
    if data is not None:
        (folder / "cifar10.zip").symlink_to(data.resolve())
        (folder / "cifar10.zip").symlink_to(data.resolve())
    subprocess.run([sys.executable, str(recipes / "turned_digits.py")], cwd=folder, check=True)
    link = folder / "recipes"
    link.symlink_to(recipes.resolve())
    for path in sorted(recipes.rglob("*.yaml")):
        name = path.relative_to(recipes).as_posix()
        (plans / f"{name.replace('/', '-')}.txt").write_text(run(folder, "plan", f"recipes/{name}"))
    for name in RUNS:
        print(run(folder, "compress", f"recipes/{name}.yaml"))
    print(run(folder, "predict-exit", "runs/quickstart", "--deadline", "1.5x"))
    for name in RUNS:
        for form in ("md", "csv"):
            (plans / f"report-{name}.{form}.txt").write_text(run(folder, "report", f"runs/{name}", "--format", form))
        (plans / f"inspect-{name}.txt").write_text(run(folder, "inspect", f"runs/{name}/model.safetensors"))
    (plans / "profiles.txt").write_text(run(folder, "profiles"))


def pairs(content: Any) -> Any:
    """Return JSON as nested lists of pairs, so that key order counts, without what varies between equal runs."""
    if isinstance(content, dict):
        return [[key, pairs(value)] for key, value in content.items() if key not in VARYING]
    if isinstance(content, list):
        return [pairs(value) for value in content]
    return content


def differences(old: Any, new: Any, where: str = "") -> Iterator[str]:
    """Yield the places at which two results of `pairs` differ."""
    if isinstance(old, list) and isinstance(new, list) and len(old) == len(new):
        for index, (left, right) in enumerate(zip(old, new, strict=True)):
            is_named = isinstance(left, list) and len(left) == 2 and isinstance(left[0], str)
            yield from differences(left, right, f"{where}/{left[0] if is_named else index}")
    elif old != new:
        yield f"{where}: {str(old)[:80]} | {str(new)[:80]}"


def printed(path: Path) -> str:
    """Return what was printed without times, numbers to six digits (intervals of differences gained digits)."""
    text = re.sub(r"\d+(\.\d+)? s\b", "N s", path.read_text())
    if ".csv" in path.name:
        text = re.sub(r",[0-9.]+$", ",N", text, flags=re.MULTILINE)  # the last column is the seconds of training
    return re.sub(r"-?\d+\.\d{9,}", lambda number: f"{float(number[0]):.6g}", text)


def compared(old: Path, new: Path) -> Iterator[str]:
    """Yield what differs between two files of the same name."""
    if old.suffix == ".json":
        yield from differences(pairs(json.loads(old.read_text())), pairs(json.loads(new.read_text())))
    elif old.suffix == ".jsonl":
        lines = [[pairs(json.loads(line)) for line in path.read_text().splitlines()] for path in (old, new)]
        yield from differences(*lines)
    elif old.suffix == ".txt":
        texts = [printed(path) for path in (old, new)]
        lines = [text.splitlines() for text in texts]
        yield from (f"line {index}: {a!r} | {b!r}" for index, (a, b) in enumerate(zip(*lines, strict=False)) if a != b)
        if len(lines[0]) != len(lines[1]):
            yield f"{len(lines[0])} lines | {len(lines[1])} lines"
    elif old.read_bytes() != new.read_bytes():
        yield "other bytes"


def compare(old: Path, new: Path) -> int:
    """Print what differs between two recorded folders; return the number of files that differ."""
    patterns = (
        "runs/*/**/*.safetensors",
        "runs/*/**/*.json",
        "runs/*/**/schedule.jsonl",
        "runs/*/recipe.yaml",
        "plans/*",
    )
    files = sorted({path.relative_to(old) for pattern in patterns for path in old.glob(pattern)})
    files = [file for file in files if ".cache" not in file.parts]
    others = sorted({path.relative_to(new) for pattern in patterns for path in new.glob(pattern)})
    unequal = [f"{file}: not in {old}" for file in others if ".cache" not in file.parts and file not in files]
    for file in files:
        found = list(compared(old / file, new / file)) if (new / file).exists() else [f"not in {new}"]
        unequal += [f"{file}{difference}" if difference[0] == "/" else f"{file}: {difference}" for difference in found]
    print("\n".join(unequal))
    print(f"{len(files)} files compared, {len(unequal)} differences")
    return len(unequal)


def main() -> None:
    """Record or compare, as the command line says."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    verbs = parser.add_subparsers(dest="verb", required=True)
    recording = verbs.add_parser("record")
    recording.add_argument("folder", type=Path)
    recording.add_argument("--data", type=Path, help="the zip that the CIFAR-10 recipes name")
    recording.add_argument("--recipes", type=Path, default=RECIPES)
    comparing = verbs.add_parser("compare")
    comparing.add_argument("old", type=Path)
    comparing.add_argument("new", type=Path)
    asked = parser.parse_args()
    if asked.verb == "record":
        record(asked.folder, asked.data, asked.recipes)
    else:
        sys.exit(min(1, compare(asked.old, asked.new)))


if __name__ == "__main__":
    main()
