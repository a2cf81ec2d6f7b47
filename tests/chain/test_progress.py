"""What is said of a run while it is at work: steps, time left, and a line where none came for long."""

from __future__ import annotations

import io
import json
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from rich.console import Console

from coc_cli.chain import progress
from coc_cli.chain.logging import RunLogging
from coc_cli.chain.progress import Pace, Position, Reporter
from coc_cli.chain.stage_log import StageLog
from coc_cli.data.images import Data
from coc_cli.data.settings import Augment
from coc_cli.learning.loop import fit
from coc_cli.learning.tasks import task_of
from coc_cli.learning.training import Batch, Epoch, StepLog, Training
from coc_cli.nets.network import Network
from coc_cli.recipe.reading import read

SETTINGS = Training(epochs=2, batch=40)


def plain(tmp_path: Path, **options: bool) -> tuple[Reporter, io.StringIO]:
    text = io.StringIO()
    return Reporter(tmp_path / "log.jsonl", 4, Console(file=text, width=200), **options), text


class Told(list):
    """Every step and epoch, in order."""

    def __call__(self, epoch: Epoch) -> None:
        self.append(epoch.epoch)

    def step(self, *where: int) -> None:
        self.append(where)


def train(network: Network, data: Data, state: Path, log: object) -> dict[str, torch.Tensor]:
    def loss(one: Network, batch: Batch) -> torch.Tensor:
        return task_of(one.spec).loss(one(batch.inputs)[-1], batch.targets)

    fit(network, data, SETTINGS, loss, augment=Augment(), seed=1, state=state, log=log)
    return network.state_dict()


def test_a_training_tells_of_every_step_and_learns_the_same(network: Network, data: Data, tmp_path: Path) -> None:
    told, begin = Told(), {name: value.clone() for name, value in network.state_dict().items()}
    assert isinstance(told, StepLog)
    assert not isinstance(lambda _: None, StepLog)
    heard = {name: value.clone() for name, value in train(network, data, tmp_path / "a", told).items()}
    steps = [(0, 2, step, 3) for step in range(4)], [(1, 2, step, 3) for step in range(4)]
    assert told == [*steps[0], 1, *steps[1], 2], "96 images in batches of 40 are 3 steps; the fourth is the validation"
    network.load_state_dict(begin)
    unheard = train(network, data, tmp_path / "b", lambda _: None)
    assert all(torch.equal(heard[name], unheard[name]) for name in heard)


def test_the_time_left_is_that_of_the_steps_that_are_left(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 100.0
    monkeypatch.setattr(progress.time, "monotonic", lambda: now)
    pace = Pace()
    assert pace.seconds_left() is None
    for step in range(30):
        pace.step(Position(0, 2, step, 100))
        if step == 8:
            assert pace.seconds_left() is None, "three steps behind the first five say nothing yet"
        now += 0.5
    assert pace.seconds_left() == pytest.approx((0.5 * 24 + 0.5) / 24 * (200 - 29)), (
        "now is half a second after step 29"
    )
    pace.step(Position(0, 2, 100, 100))
    pace.epoch(Epoch(1, 2, 1.0, 0.5, seconds=60.0))
    pace.step(Position(1, 2, 25, 100))
    assert pace.seconds_left() == 45.0, "an epoch took 60 s, validation included, and three quarters are left"
    pace.epoch(Epoch(2, 2, 1.0, 0.5, seconds=60.0))
    assert pace.seconds_left() is None


def test_a_silent_run_says_where_it_is(
    recipe: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    reporter, text = plain(tmp_path)
    reporter.begin(2, "quantize", "key")
    log = StageLog(reporter, "02-quantize", RunLogging(read(recipe()).recipe, tmp_path, pytest.fail))
    log.step(2, 20, 410, 1406)
    reporter.show_life()
    assert text.getvalue() == "", "nothing before it was silent for long"
    monkeypatch.setattr(progress, "SILENT_SECONDS", 0.0)
    reporter.pace._epoch_seconds = 60.0
    reporter.show_life()
    log.step(2, 20, 1406, 1406)
    reporter.show_life()
    log(Epoch(20, 20, 0.5, 0.75, 1.0))
    reporter.at_work("measured on 10,000 test images")
    reporter.show_life()
    assert text.getvalue().splitlines() == [
        "2/4 quantize: epoch 3/20  step 410/1406  18 min left",
        "2/4 quantize: epoch 3/20  validation  17 min left",
        "2/4 quantize: epoch 20/20  loss 0.5000  validation 0.7500  0 s left",
        "2/4 quantize: measured on 10,000 test images",
    ]


def test_a_thread_looks_while_the_training_is_at_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "TICK_SECONDS", 0.01)
    monkeypatch.setattr(progress, "SILENT_SECONDS", 0.0)
    reporter, text = plain(tmp_path)
    with reporter:
        reporter.begin(1, "prune", "key")
        reporter.step(0, 3, 7, 9)
        end = time.monotonic() + 10
        while "1/4 prune: epoch 1/3  step 7/9" not in text.getvalue():
            assert time.monotonic() < end
            time.sleep(0.01)
    assert reporter._ticker is not None
    assert not reporter._ticker.is_alive()


def test_a_bar_moves_with_the_steps(tmp_path: Path) -> None:
    text = io.StringIO()
    with Reporter(tmp_path / "log", 1, Console(file=text, force_terminal=True, width=120)) as reporter:
        reporter.begin(1, "prune", "key")
        reporter.step(1, 3, 5, 10)
        reporter.show_life()
        task = reporter._bar.tasks[0]
        assert (task.completed, task.total, task.description) == (15, 30, "1/1 prune")
        assert task.fields["say"] == "epoch 2/3  step 5/10"


def test_quiet_leaves_warnings_and_the_log(tmp_path: Path) -> None:
    reporter, text = plain(tmp_path, quiet=True)
    with reporter:
        reporter.begin(0, "baseline", "key")
        reporter.epoch(Epoch(1, 1, 0.5, 0.75, 1.0))
        reporter.decoding(5, 5)
        reporter.say("trained", event="done")
        reporter.say("warning: so it is", event="warning")
        assert reporter._ticker is None
    assert text.getvalue() == "0/4 baseline: warning: so it is\n"
    events = [json.loads(line)["event"] for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert events == ["begin", "epoch", "done", "warning"]


def test_verbose_shows_every_epoch_and_the_key(tmp_path: Path) -> None:
    reporter, text = plain(tmp_path, verbose=True)
    reporter.begin(0, "baseline", "abc")
    for number in range(1, 5):
        reporter.epoch(Epoch(number, 4, 0.5, 0.75, 1.0))
    lines = text.getvalue().splitlines()
    assert lines[0].startswith("0/4 baseline: begins 0.")
    assert lines[0].endswith("its key is abc")
    assert [line.split("  ")[0] for line in lines[1:]] == [f"0/4 baseline: epoch {number}/4" for number in range(1, 5)]
