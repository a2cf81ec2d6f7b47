"""The quickstart: what README promises of it, and that killing it changes nothing."""

from __future__ import annotations

import json
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from coc_cli.data.sources.digits import read_digits
from coc_cli.learning.evaluation import evaluate
from coc_cli.nets.checkpoint import load

ROOT = Path(__file__).parents[2]
COMMAND = [sys.executable, "-m", "coc_cli", "compress", str(ROOT / "recipes/quickstart.yaml")]

pytestmark = pytest.mark.full


def test_the_quickstart_meets_its_limits(quickstart: Path) -> None:
    report = json.loads((quickstart / "report.json").read_text())
    assert report["ok"]
    assert report["stages"][-1]["bitops_ratio"] >= 600
    assert report["stages"][0]["metric_value"] - report["stages"][-1]["metric_value"] <= 0.02


def test_the_report_is_what_the_file_does(quickstart: Path) -> None:
    report = json.loads((quickstart / "report.json").read_text())
    test = evaluate(load(quickstart / "model.safetensors"), read_digits(report["seed"]).test)
    assert test.value == report["stages"][-1]["metric_value"]


def test_killed_three_times_it_ends_in_the_same_bytes(quickstart: Path, tmp_path: Path) -> None:
    report = json.loads((quickstart / "report.json").read_text())
    training_s = sum(stage["seconds"] for stage in report["stages"])
    seed = time.time_ns()
    moments = random.Random(seed)
    log = tmp_path / "runs/quickstart/log.jsonl"
    for attempt in range(3):
        running = subprocess.Popen(COMMAND, cwd=tmp_path, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        while not (log.exists() and log.read_text().count('"start"') > attempt):
            assert running.poll() is None
            time.sleep(0.05)
        time.sleep(moments.uniform(0.05, 0.2) * training_s)
        running.send_signal(signal.SIGKILL)
        assert running.wait() == -signal.SIGKILL, f"it was done too soon (seed {seed})"
    subprocess.run(COMMAND, cwd=tmp_path, check=True, stdout=subprocess.DEVNULL)
    result = (tmp_path / "runs/quickstart/model.safetensors").read_bytes()
    assert result == (quickstart / "model.safetensors").read_bytes(), f"seed {seed}"
