"""Run directories made by hand: small, with figures that can be checked by head."""

from __future__ import annotations

import base64
import hashlib
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

BASELINE = {
    "index": 0,
    "name": "baseline",
    "metric_value": 0.875,
    "metric_ci95": [0.529, 0.978],
    "n_test": 8,
    "macs": 3000.0,
    "bitops": 3072000.0,
    "bitops_ratio": 1.0,
    "bitops_ratio_nominal": 1.0,
    "params": 300,
    "checkpoint_bytes": 4000,
    "bytes_ratio": 1.0,
    "latency_ms": {
        "median": 6.0,
        "p95": 7.0,
        "cpu_median": 5.0,
        "speedup": 1.0,
        "speedup_ci95": [1.0, 1.0],
        "busy": False,
        "threads": 1,
        "batch": 1,
        "runtime": "onnxruntime 1.32.0",
        "integer_convs": 0,
        "convs": 22,
    },
    "exits": [],
    "seconds": 12.0,
    "layers": [
        {"name": "conv1", "macs": 1000, "params": 100, "weight_bits": 32, "activation_bits": 32, "bitops": 1024000},
        {"name": "linear", "macs": 2000, "params": 200, "weight_bits": 32, "activation_bits": 32, "bitops": 2048000},
    ],
}
QUANTIZE = {
    **BASELINE,
    "index": 1,
    "name": "quantize",
    "metric_value": 0.75,
    "metric_ci95": [0.409, 0.929],
    "bitops": 48000.0,
    "bitops_ratio": 64.0,
    "bitops_ratio_nominal": 64.0,
    "checkpoint_bytes": 1000,
    "bytes_ratio": 4.0,
    "latency_ms": None,
    "seconds": 3.4,
    "layers": [
        {"name": "conv1", "macs": 1000, "params": 100, "weight_bits": 4, "activation_bits": 4, "bitops": 16000},
        {"name": "linear", "macs": 2000, "params": 200, "weight_bits": 4, "activation_bits": 4, "bitops": 32000},
    ],
}
EXITS = {
    **QUANTIZE,
    "index": 2,
    "name": "early_exit",
    "bitops": 24000.0,
    "macs": 1500.0,
    "bitops_ratio": 128.0,
    "bitops_ratio_nominal": 130.0,
    "latency_ms": {
        **BASELINE["latency_ms"],  # type: ignore[dict-item]
        "median": 1.5,
        "p95": 1.75,
        "cpu_median": 1.25,
        "speedup": 4.0,
        "speedup_ci95": [3.75, 4.25],
        "integer_convs": 22,
    },
    "exits": [
        {"index": 0, "share": 0.5, "metric_value": 1.0, "metric_all": 0.625},
        {"index": 1, "share": 0.5, "metric_value": 0.5, "metric_all": 0.75},
    ],
}
SCORES = {"baseline": "fe", "quantize": "fc", "early_exit": "fc"}  # the first 7, then 6, of 8 images are right
RECIPE = """\
name: NAME
seed: 3
data: {source: digits}
chain:
- quantize: {weights: 4, activations: 4}
- early_exit: {exits: 1}
limits: {max_drop: 0.2}
"""


def report(name: str = "small", **changes: Any) -> dict[str, Any]:
    """What report.json says of a run of three stages."""
    return {
        "schema": 1,
        "name": name,
        "task": "classification",
        "metric": "accuracy",
        "ok": True,
        "stages": [BASELINE, QUANTIZE, EXITS],
        "factors": [{"index": 1, "name": "quantize", "ratio": 64.0}, {"index": 2, "name": "early_exit", "ratio": 2.0}],
        "limits": [{"name": "max_drop", "limit": 0.2, "value": 0.125, "ok": True}],
        "environment": {"coc": "0.1.0", "torch": "2.15.0", "cores": 2},
        "command": f"coc compress {name}.yaml",
        "seed": 3,
        **changes,
    }


def run(folder: Path, content: dict[str, Any] | None = None, *, epochs: int = 2) -> Path:
    """Write a run directory and give its path."""
    content = content or report()
    folder.mkdir(parents=True)
    (folder / "report.json").write_text(json.dumps(content))
    (folder / "recipe.yaml").write_text(RECIPE.replace("NAME", json.dumps(content["name"])))
    (folder / "log.jsonl").write_text(json.dumps({"event": "start", "command": "coc compress other.yaml"}) + "\n")
    for stage in content["stages"]:
        result(folder, stage, epochs=epochs)
    return folder


def result(folder: Path, stage: dict[str, Any], *, epochs: int = 2) -> None:
    """Write what a stage folder holds."""
    place = folder / "stages" / f"{stage['index']:02d}-{stage['name'].replace('/', '-')}"
    place.mkdir(parents=True)
    curve = [
        {"epoch": number + 1, "epochs": epochs, "loss": 2.0 / (number + 1), "metric": 0.5 + 0.4 * number / epochs}
        for number in range(epochs)
    ]
    kept = {key: stage.get(key) for key in ("metric_value", "metric_ci95", "n_test", "seconds", "exits")}
    scores = SCORES.get(stage["name"], "ff")
    model = bytes(int(stage.get("checkpoint_bytes") or 0))
    checksum = hashlib.sha256(model).hexdigest()
    (place / "result.json").write_text(json.dumps({**kept, "scores": scores, "epochs": curve, "sha256": checksum}))
    (place / "model.safetensors").write_bytes(model)


def _network(folder: Path) -> str:
    """The checksum of the last stage of the run that a prediction lies in; of no run any."""
    results = sorted(folder.parents[1].glob("stages/*/result.json"))
    return str(json.loads(results[-1].read_text())["sha256"]) if results else "abc"


def picture() -> str:
    """A PNG of 8 x 8 pixels."""
    file = io.BytesIO()
    Image.fromarray(np.arange(64, dtype=np.uint8).reshape(8, 8)).save(file, "png")
    return base64.b64encode(file.getvalue()).decode()


FAMILIES = {"classic": "none", "predictive": "ours"}


def row(policy: str, governor: str, value: float, macs: float, energy: float) -> dict[str, Any]:
    """A row of predict-exit.json."""
    return {
        "policy": policy,
        "governor": governor,
        "metric_value": value,
        "macs_mean": macs,
        "latency_ms_mean": 0.5,
        "energy_mj_mean": energy,
        "energy_saving": 1 - energy / 4,
        "deadline_miss_rate": 0.0,
        "one_level": False,
        "exit_shares": [0.5, 0.5],
        "predictor": {"hit_rate": 0.875, "mean_abs_error": 0.25} if policy == "predictive" else None,
        "family": FAMILIES.get(policy, "ours"),
    }


def forecast(folder: Path, *, exits: int = 2, **changes: Any) -> Path:
    """Write what `coc predict-exit` leaves in a folder."""
    folder.mkdir(parents=True)
    rows = [row("classic", "race", 0.75, 3000.0, 4.0), row("predictive", "pace", 0.75, 1400.0, 1.0)]
    points = [{"score": 0.7 + place / 100, "macs": 1000.0 + 50 * place} for place in range(exits + 2)]
    best = (("passive", "threshold", 2.0), ("ours", "predictive", 1.5), ("oracle", "oracle", 1.0))
    worth: dict[str, Any] = {
        kind: {"policy": policy, "governor": "pace", "energy_mj_mean": mj} for kind, policy, mj in best
    }
    cross = [
        {"policy": policy, "governor": "pace", "energy_mj_ci95": [mj - 0.25, mj + 0.25], "one_level": mj == 2}
        for _, policy, mj in best
    ]
    worth |= {"score_difference": -0.001, "score_difference_ci95": [-0.0025, 0.0005]}
    worth |= {"gap_closed": 0.5, "saved_passive": 0.25, "gap_closed_ci95": [0.4, 0.6], "saved_passive_ci95": [0.2, 0.3]}
    no_gap = {**worth, "gap_closed": None, "saved_passive": -0.125, "gap_closed_ci95": None}
    saving = {"drop": 0.005, "saved_classic": 0.5, "saved_passive": None, "saved_classic_ci95": [0.375, 0.625]}
    content = {
        "schema": 1,
        "profile": folder.name,
        "deadline": "1.25x",
        "deadline_ms": 2.0,
        "metric": "accuracy",
        "n_test": 8,
        "full_macs": 3000.0,
        "policies": rows,
        "not_applicable": ["patience"],
        "curves": [
            {"policy": "classic", "points": [{"score": 0.75, "macs": 3000.0}], "family": "none"},
            {"policy": "predictive", "points": points, "family": "ours"},
        ],
        "deadlines": [{"deadline": "1.25x", "deadline_ms": 2.0, "rows": cross, "worth": worth}],
        "sensitivity": [{"change": "as it is", **worth}, {"change": "idle power x 2", **no_gap}],
        "savings": [{"policy": "predictive", "macs": 1500.0, **saving}],
        "notes": ["a change takes long: one level is held"],
        "schedule": {"policy": "predictive", "governor": "pace"},
        "checkpoint_sha256": _network(folder),
        "examples": [
            {"input": place, "kind": kind, "png": picture()}
            for place, kind in enumerate(("easy", "hard", "mispredicted"))
        ],
        **changes,
    }
    (folder / "predict-exit.json").write_text(json.dumps(content))
    lines = [line(place, exits) for place in range(8)]
    (folder / "schedule.jsonl").write_text("".join(json.dumps(one) + "\n" for one in lines))
    return folder


def line(place: int, exits: int) -> dict[str, Any]:
    """A line of schedule.jsonl."""
    stretches = [
        {"frequency_mhz": 100.0, "latency_ms": 0.5, "energy_mj": 0.5, "reason": "start"},
        {"frequency_mhz": 50.0, "latency_ms": 0.5, "energy_mj": 0.3, "reason": f"predicted exit {exits}"},
        {"frequency_mhz": 50.0, "latency_ms": 1.0, "energy_mj": 0.2, "reason": "idle"},
    ]
    return {
        "input": place,
        "label": "7",
        "prediction": "1" if place == 2 else "7",
        "exit": place % exits,
        "segments": stretches,
        "latency_ms": 1.0,
        "energy_mj": 1.0,
        "deadline_ms": 2.0,
        "deadline_met": True,
    }
