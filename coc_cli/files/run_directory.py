"""Where runs lie and what their files are called."""

from __future__ import annotations

from pathlib import Path

RUNS = Path("runs")  # below the current directory
CACHE = RUNS / ".cache"  # of stages, a folder a key
DATA = "data"  # its folder of decoded images
RESULT = "model.safetensors"  # a run's checkpoint, and that of each stage in its folder
STAGE_RESULT = "result.json"  # what a stage measured
REPORT, PAGE, RECIPE, LOG, LOCK = "report.json", "report.html", "recipe.yaml", "log.jsonl", ".lock"
