"""Runs for the tests of reports, in a folder that is the current one."""

from __future__ import annotations

from pathlib import Path

import fake_runs
import pytest


@pytest.fixture
def small(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A whole run with exits and a forecast."""
    monkeypatch.chdir(tmp_path)
    folder = fake_runs.run(Path("small"))
    fake_runs.forecast(folder / "predict-exit/cortex-m7")
    return folder


@pytest.fixture
def other(small: Path) -> Path:
    """A second run, which misses its limit and has another seed."""
    changes = {
        "stages": [fake_runs.BASELINE, {**fake_runs.QUANTIZE, "metric_ci95": [0.2, 0.4], "metric_value": 0.25}],
        "factors": [{"index": 1, "name": "quantize", "ratio": 64.0}],
        "limits": [{"name": "max_drop", "limit": 0.1, "value": 0.625, "ok": False}],
    }
    folder = fake_runs.run(small.parent / "other", fake_runs.report("other", ok=False, seed=4, **changes))
    text = (folder / "recipe.yaml").read_text().replace("- early_exit: {exits: 1}\n", "").replace("seed: 3", "seed: 4")
    (folder / "recipe.yaml").write_text(text.replace("weights: 4", "weights: 2"))
    return folder
