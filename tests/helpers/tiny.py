"""Whole recipes that run in seconds, and what must be equal of two runs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

TINY_RECIPE = """\
name: tiny
seed: 3
device: cpu
data: {source: digits}
model:
  arch: cifar:resnet20
  depth: 8
  width: 4
  train: {epochs: 2, batch: 128}
chain:
  - distill: {student: {width: 2}, epochs: 2, batch: 128}
  - quantize: {weights: 4, activations: 4, epochs: 2, batch: 128}
precision: float32
"""
TINY_EXITS = """\
name: tiny
device: cpu
data: {source: digits}
model: {arch: cifar:resnet20, depth: 14, width: 4, train: {epochs: 3, batch: 128}}
chain:
  - early_exit: {every: block, epochs: 2, batch: 128, max_drop: 0.02}
precision: float32
"""
TINIEST_RECIPE = """\
name: tiny
seed: 3
device: cpu
data: {source: digits, limit: 64}
model:
  arch: cifar:resnet20
  depth: 8
  width: 2
  train: {epochs: 1, batch: 32}
chain:
  - quantize: {weights: 4, activations: 4, epochs: 3, batch: 32}
precision: float32
"""
TINIEST_STAGES = ("stages/00-baseline", "stages/01-quantize")


def results(run: Path) -> dict[str, Any]:
    """Return what must not change of a finished run, however it came to its end: figures and checkpoints."""
    report = json.loads((run / "report.json").read_text())
    stages = [f"stages/{index:02d}-{stage['name']}" for index, stage in enumerate(report["stages"])]
    figures = [(stage["metric_value"], stage["exits"], stage["bitops"]) for stage in report["stages"]]
    files = {name: (run / name / "model.safetensors").read_bytes() for name in (".", *stages)}
    return {"figures": figures, **files}
