"""What goes to a logger is what log.jsonl and report.json say, once each, and a logger's failure costs the run nothing."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
from command_line import coc
from tiny import TINIEST_RECIPE

from coc_cli.chain import logging
from coc_cli.chain.logging import RunLogging, flattened
from coc_cli.chain.progress import Reporter
from coc_cli.learning.training import Epoch
from coc_cli.loggers import LOGGERS
from coc_cli.loggers.logger import STAGE_VALUES, EpochRow, Logger, NoLogger, RunAbout, StageRow
from coc_cli.recipe.reading import read

RUN = Path("runs/tiny")
STAGES = ("00-baseline", "01-quantize")
EPOCH_VALUES = ("loss", "metric", "seconds")
EPOCHS = {"00-baseline": 1, "01-quantize": 3}


class Recorder(Logger):
    """Keeps what it is told."""

    name: ClassVar[str] = "recorder"
    told: ClassVar[list[Any]] = []
    fails_at: ClassVar[str] = ""

    def _note(self, what: str, *values: Any) -> None:
        if self.fails_at == what:
            raise OSError(28, "No space left on device", "there")
        self.told.append((what, *values))

    def begin(self, about: RunAbout) -> None:
        self._note("begin", about)

    def epoch(self, row: EpochRow) -> None:
        self._note("epoch", row)

    def stage(self, row: StageRow) -> None:
        self._note("stage", row)

    def end(self, artefacts: Any) -> None:
        self._note("end", [path.name for path in artefacts])

    def abort(self) -> None:
        self._note("abort")


@pytest.fixture
def recorder(monkeypatch: pytest.MonkeyPatch) -> type[Recorder]:
    """A logger in the place of the csv's."""
    monkeypatch.setitem(logging.LOGGERS, "csv", Recorder)
    monkeypatch.setattr(Recorder, "told", [])
    return Recorder


def logged_epochs() -> list[tuple[str, int, dict[str, float]]]:
    """The epochs in log.jsonl."""
    events = [json.loads(line) for line in (RUN / "log.jsonl").read_text().splitlines()]
    rows = [event for event in events if event["event"] == "epoch"]
    return [(STAGES[row["index"]], row["epoch"], {name: row[name] for name in EPOCH_VALUES}) for row in rows]


def reported_stages() -> dict[str, dict[str, float]]:
    """The stages' figures in report.json."""
    stages = json.loads((RUN / "report.json").read_text())["stages"]
    return {name: {key: stage[key] for key in STAGE_VALUES} for name, stage in zip(STAGES, stages, strict=True)}


def compress(name: str, *more: str, code: int = 0) -> str:
    return coc("compress", "recipe.yaml", "--set", f"logger={name}", *more, code=code).stderr


def test_a_logger_is_told_what_the_log_and_the_report_say(
    recipe: Callable[..., Path], recorder: type[Recorder]
) -> None:
    recipe(TINIEST_RECIPE)
    compress("csv")
    begin, *rest = recorder.told
    assert begin[1].parameters["chain.0.quantize.weights"] == 4
    assert begin[1].parameters["model.arch"] == "cifar:resnet20"
    assert [(row.stage, row.epoch, row.values) for what, row in rest if what == "epoch"] == logged_epochs()
    assert not any(row.restored for what, row in rest if what == "epoch")
    assert {row.stage: row.values for what, row in rest if what == "stage"} == reported_stages()
    assert rest[-1] == ("end", ["model.safetensors", "report.json", "report.html"])
    first, said = list(recorder.told), logged_epochs()
    recorder.told.clear()
    compress("csv")
    again = [(row.stage, row.epoch, row.values, row.restored) for what, row in recorder.told[1:] if what == "epoch"]
    assert again == [(*row, True) for row in said], "from the cache: reported again, and marked so"
    assert logged_epochs() == said
    assert recorder.told[0][1].token == first[0][1].token


def test_the_logger_is_in_no_cache_key(recipe: Callable[..., Path], recorder: type[Recorder]) -> None:  # noqa: ARG001
    recipe(TINIEST_RECIPE)
    coc("compress", "recipe.yaml")
    before = (RUN / "model.safetensors").read_bytes()
    assert compress("csv").count("from the cache") == 2
    assert (RUN / "model.safetensors").read_bytes() == before


@pytest.mark.parametrize("place", ["begin", "epoch", "stage", "end"])
def test_a_logger_that_fails_is_a_warning(
    recipe: Callable[..., Path], recorder: type[Recorder], monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    recipe(TINIEST_RECIPE)
    monkeypatch.setattr(recorder, "fails_at", place)
    warnings = [line for line in compress("csv").splitlines() if "the logger" in line]
    failed = "warning: the logger csv failed and logs no more; the run goes on (OSError: [Errno 28] No space left on device: 'there')"
    assert [line.rpartition("quantize: ")[2].rpartition("baseline: ")[2] for line in warnings] == [failed]
    assert json.loads((RUN / "report.json").read_text())["ok"]
    assert "abort" not in [what for what, *_ in recorder.told]


def test_a_run_that_fails_breaks_the_logger_off_and_a_resume_repeats_nothing(
    recipe: Callable[..., Path], recorder: type[Recorder], monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe(TINIEST_RECIPE)
    shown = Reporter.epoch

    def stopped(self: Reporter, epoch: Epoch) -> None:
        shown(self, epoch)
        if (self.index, epoch.epoch) == (1, 2):
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Reporter, "epoch", stopped)
        compress("csv", code=130)
    assert recorder.told[-1] == ("abort",)
    recorder.told.clear()
    compress("csv")
    rows = [row for what, row in recorder.told[1:] if what == "epoch"]
    assert [(row.stage, row.epoch, row.values) for row in rows] == logged_epochs()
    assert [row.restored for row in rows] == [True, True, True, False]


def test_no_logger_is_told_and_says_nothing(recipe: Callable[..., Path], tmp_path: Path) -> None:
    with RunLogging(read(recipe()).recipe, tmp_path, pytest.fail) as log:
        assert isinstance(log._logger, NoLogger)
        log.epoch("00-baseline", Epoch(1, 1, 0.5, 0.5, 1.0), restored=False)
        log.end({}, [])


def test_keys_are_dotted() -> None:
    content = {"a": {"b": 1}, "chain": [{"prune": {"ratio": 0.5}}, {"quantize": {}}], "name": "x"}
    assert flattened(content) == {"a.b": 1, "chain.0.prune.ratio": 0.5, "name": "x"}


@pytest.mark.usefixtures("workspace")
def test_the_table_holds_every_epoch_and_stage_once() -> None:
    for _ in range(2):
        compress("csv")
        rows = list(csv.DictReader((RUN / "metrics.csv").read_text().splitlines()))
        epochs = [row for row in rows if row["epoch"]]
        log = [json.loads(line) for line in (RUN / "log.jsonl").read_text().splitlines()]
        assert [[float(row[name]) for name in EPOCH_VALUES] for row in epochs] == [
            [event[name] for name in EPOCH_VALUES] for event in log if event["event"] == "epoch"
        ]
        stages = json.loads((RUN / "report.json").read_text())["stages"]
        assert [[float(row[key]) for key in STAGE_VALUES] for row in rows if not row["epoch"]] == [
            [stage[key] for key in STAGE_VALUES] for stage in stages
        ]


@pytest.mark.parametrize("name", [name for name, logger in LOGGERS.items() if logger.module])
def test_a_logger_whose_package_is_missing_is_said_before_any_work(
    recipe: Callable[..., Path], monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setattr("coc_cli.loggers.logger.find_spec", lambda _: None)
    path = recipe(TINIEST_RECIPE + f"logger: {name}\n")
    needs = f"recipe.yaml:13: logger: {name} needs a package that is not installed: pip install 'coc-cli[{name}]'\n"
    for verb in ("plan", "compress"):
        assert coc(verb, path, code=2).stderr == needs
    assert not Path("runs").exists()


def test_a_logger_that_is_none_is_named_with_those_there_are(recipe: Callable[..., Path]) -> None:
    said = coc("plan", recipe(TINIEST_RECIPE + "logger: tensorbord\n"), code=2).stderr
    assert said == (
        "recipe.yaml:13: logger: needs 'csv', 'tensorboard', 'mlflow', 'wandb' or 'trackio', got 'tensorbord'\n"
    )


def test_links_in_a_loggers_place_are_refused(workspace: Path) -> None:
    (workspace / "outside").write_text("kept")
    (RUN / "metrics.csv").symlink_to(workspace / "outside")
    assert "is a link, which coc does not follow" in coc("compress", "recipe.yaml", code=2).stderr
    assert (workspace / "outside").read_text() == "kept"


def interrupted_run(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """A run that is stopped in its last stage, resumed, and run once more when it is done."""
    shown = Reporter.epoch

    def stopped(self: Reporter, epoch: Epoch) -> None:
        shown(self, epoch)
        if (self.index, epoch.epoch) == (1, 2):
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Reporter, "epoch", stopped)
        compress(name, code=130)
    assert "the logger" not in compress(name)
    assert "the logger" not in compress(name)


@pytest.mark.full
def test_tensorboards_own_reader_finds_the_numbers(
    recipe: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("tensorboard", reason="needs pip install 'coc-cli[tensorboard]'")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    recipe(TINIEST_RECIPE)
    interrupted_run(monkeypatch, "tensorboard")
    events = EventAccumulator(str(RUN / "tensorboard"))
    events.Reload()
    tags = events.Tags()["scalars"]
    found = {(tag, scalar.step): scalar.value for tag in tags for scalar in events.Scalars(tag)}
    assert sum(len(events.Scalars(tag)) for tag in tags) == len(found), "nothing twice"
    wanted = {(f"{s}/{name}", epoch): value for s, epoch, row in logged_epochs() for name, value in row.items()}
    for index, row in enumerate(reported_stages().values()):
        wanted |= {(f"stages/{name}", index): value for name, value in row.items()}
    assert found == {key: float(np.float32(value)) for key, value in wanted.items()}
    assert "01-quantize/restored/text_summary" in events.Tags()["tensors"]


@pytest.mark.full
def test_mlflows_store_holds_the_numbers(recipe: Callable[..., Path], monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("mlflow", reason="needs pip install 'coc-cli[mlflow]'")
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    from mlflow import MlflowClient

    recipe(TINIEST_RECIPE)
    interrupted_run(monkeypatch, "mlflow")
    client = MlflowClient(tracking_uri=(RUN / "mlruns").resolve().as_uri())
    [run] = client.search_runs([client.get_experiment_by_name("coc").experiment_id])
    assert (run.info.status, run.info.run_name) == ("FINISHED", "tiny")
    assert run.data.params["chain.0.quantize.epochs"] == "3"
    history = [one for key in run.data.metrics for one in client.get_metric_history(run.info.run_id, key)]
    found = {(one.key, one.step): one.value for one in history}
    assert len(history) == len(found), "nothing twice"
    wanted = {(f"{s}/{name}", epoch): value for s, epoch, row in logged_epochs() for name, value in row.items()}
    for index, row in enumerate(reported_stages().values()):
        wanted |= {(f"stages/{name}", index): value for name, value in row.items()}
    assert found == wanted
    kept = {one.path for one in client.list_artifacts(run.info.run_id)}
    assert kept == {"model.safetensors", "report.json", "report.html"}


@pytest.mark.full
def test_mlflow_goes_where_its_variable_says(
    recipe: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("mlflow", reason="needs pip install 'coc-cli[mlflow]'")
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", (tmp_path / "elsewhere").as_uri())
    recipe(TINIEST_RECIPE)
    compress("mlflow")
    assert (tmp_path / "elsewhere").is_dir()
    assert not (RUN / "mlruns").exists()


@pytest.mark.full
def test_wandb_offline_needs_no_network(recipe: Callable[..., Path], monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("wandb", reason="needs pip install 'coc-cli[wandb]'")
    monkeypatch.setenv("WANDB_MODE", "offline")
    recipe(TINIEST_RECIPE)
    assert "the logger" not in compress("wandb")
    [file] = (RUN / "wandb").glob("offline-run-*/run-*.wandb")
    assert b"01-quantize/loss" in file.read_bytes()
