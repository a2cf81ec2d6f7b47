"""A network that is of no use is warned of; one whose norms were estimated anew is of use."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from command_line import coc

from coc_cli.learning import loop
from coc_cli.learning.tasks import Classification, Regression, Task
from coc_cli.learning.uselessness import uselessness
from coc_cli.nets.spec import Scale

STEERING = """\
name: steering
device: cpu
data: {source: digits-rotation, limit: 300}
model:
  arch: "file:slow_norms.py:build"
  train: {epochs: 4, batch: 32, lr: 0.02}
chain:
  - quantize: {weights: 8, activations: 8, epochs: 1, batch: 32}
limits: {min_metric: 0.5}
"""
SLOW_NORMS = """\
from torch import nn


def build(in_channels):
    def block(a, b, stride):
        return nn.Conv2d(a, b, 3, stride, 1, bias=False), nn.BatchNorm2d(b, momentum=0.01), nn.Hardswish()

    layers = [*block(in_channels, 8, 1), *[each for _ in range(6) for each in block(8, 8, 1)], *block(8, 16, 2)]
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(16, 1))
"""


Figures = tuple[tuple[float, tuple[float, float], int], dict[str, float | None]]


def result(value: float, ci95: tuple[float, float], trivial: float | None, spread: float | None) -> Figures:
    return (value, ci95, 360), {"trivial_value": trivial, "answer_spread": spread}


def said_of(task: Task, found: Figures) -> list[str]:
    return list(uselessness(task, *found[0], **found[1]))


@pytest.mark.parametrize(
    ("found", "said"),
    [
        (result(0.98, (0.96, 0.99), 0.1, 0.99), []),
        (result(0.1, (0.07, 0.14), 0.1, 0.5),
         ["its accuracy of 10.00% is no better than answering always the same, which has 10.00%"]),
        (result(0.12, (0.09, 0.16), 0.1, 0.5),
         ["its accuracy of 12.00% on 360 images cannot be told from answering always the same, which has 10.00%"]),
        (result(0.9, (0.87, 0.93), 0.1, 0.09),
         ["it answers nearly the same for all images: answers vary 9.0% as much as targets"]),
        (result(0.9, (0.87, 0.93), None, None), []),
    ],
)  # fmt: skip
def test_what_is_said_of_a_useless_network(found: Figures, said: list[str]) -> None:
    assert said_of(Classification(), found) == said


def test_of_an_error_more_is_worse() -> None:
    task = Regression(("angle",), Scale.plain(1))
    assert said_of(task, result(2.0, (1.8, 2.3), 7.0, 0.9)) == []
    (said,) = said_of(task, result(6.5, (6.0, 7.1), 7.0, 0.9))
    assert said == "its mae of 6.5 on 360 images cannot be told from answering always the same, which has 7"
    assert len(said_of(task, result(8.0, (7.0, 9.0), 7.0, 0.0))) == 2


@pytest.mark.parametrize("estimated", [False, True])
def test_a_network_whose_norms_lag_is_warned_of_or_learns(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, estimated: bool
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("steering.yaml").write_text(STEERING)
    Path("slow_norms.py").write_text(SLOW_NORMS)
    if not estimated:
        monkeypatch.setattr(loop, "refresh_statistics", lambda *_, **__: 0)
    done = coc("compress", "steering.yaml", code=0 if estimated else 3)
    report = json.loads(Path("runs/steering/report.json").read_text())
    page = Path("runs/steering/report.html").read_text()
    baseline = report["stages"][0]
    assert baseline["trivial_value"] == pytest.approx(22.5, abs=4)  # angles lie evenly within 45 degrees to either side
    for text in (done.stdout, done.stderr, page):
        assert ("answering always the same" in text) is not estimated
    assert bool(report["warnings"]) is not estimated
    assert (baseline["r2"] > 0.5) is estimated


@pytest.mark.full
def test_exits_of_a_useless_network_are_predicted_with_a_warning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("steering.yaml").write_text(
        STEERING.replace("quantize: {weights: 8, activations: 8,", "early_exit: {exits: 1, max_drop: 1.0,")
    )
    Path("slow_norms.py").write_text(SLOW_NORMS)
    monkeypatch.setattr(loop, "refresh_statistics", lambda *_, **__: 0)
    coc("compress", "steering.yaml", "--set", "model.train.epochs=1", "--set", "data.limit=60", code=3)
    said = coc("predict-exit", "runs/steering").stdout
    assert "warning: its mae of" in said
    assert "answering always the same" in said
