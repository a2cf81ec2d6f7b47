"""The command line: answers at once, exit codes, and a tiny run from recipe to report."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from command_line import Run, coc
from formats import save_format_1
from PIL import Image
from tiny import TINIEST_RECIPE

import coc_cli
from coc_cli.nets.checkpoint import load
from coc_cli.nets.checkpoint_header import read_header
from coc_cli.report.schema import Report, StageResult
from coc_cli.report.schema.part import as_json

COC = [sys.executable, "-m", "coc_cli"]
RESULT = Path("runs/tiny/model.safetensors")


def test_help_answers_in_half_a_second_without_torch() -> None:
    code = (
        "import sys, time; t = time.monotonic(); sys.argv = ['coc', '--help']\n"
        "from coc_cli.cli import main\n"
        "try: main()\n"
        "except SystemExit as end: print(end.code, 'torch' in sys.modules, time.monotonic() - t)"
    )
    times = []
    for _ in range(3):
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
        status, has_torch, seconds = done.stdout.split()[-3:]
        assert (status, has_torch) == ("0", "False")
        times.append(float(seconds))
    assert min(times) < 0.5
    assert all(verb in done.stdout for verb in ("compress", "plan", "schema", "inspect"))


@pytest.mark.parametrize("args", [("nonsense",), ("compress",), ("compress", "x.yaml", "--speed"), ("plan", "a", "b")])
def test_wrong_arguments_end_with_2(args: tuple[str, ...]) -> None:
    coc(*args, code=2)


def test_version() -> None:
    assert coc("--version").stdout == f"coc {coc_cli.__version__}\n"


def test_schema_is_json() -> None:
    assert json.loads(coc("schema").stdout)["title"] == "Recipe"


def test_errors_have_no_traceback_unless_asked(tmp_path: Path) -> None:
    plain = coc("plan", str(tmp_path / "no.yaml"), code=2)
    assert plain.stderr == f"{tmp_path}/no.yaml: cannot be read: No such file or directory\n"
    (tmp_path / "now.yaml").touch()
    assert coc("plan", str(tmp_path / "no.yaml"), code=2).stderr == plain.stderr[:-1] + "; did you mean 'now.yaml'?\n"
    assert "Traceback" in coc("plan", str(tmp_path / "no.yaml"), "--debug", code=2).stderr


@pytest.mark.parametrize(
    ("device", "message"),
    [
        ("gpu", "--device: no such device 'gpu'; use auto, cpu, cuda or cuda:N\n"),
        ("meta", "--device: device 'meta' is not supported; use auto, cpu, cuda or cuda:N\n"),
        ("cuda:99", "--device: there is no cuda:99 here; use cpu, or auto\n"),
    ],
)
def test_wrong_devices(recipe: Callable[..., Path], device: str, message: str) -> None:
    assert coc("compress", str(recipe()), "--device", device, code=2).stderr == message
    assert not Path("runs").exists()


def test_the_run_directory_holds_what_the_contract_says(finished: Run) -> None:
    run = finished.directory
    stages = ["00-baseline", "01-distill", "02-quantize"]
    assert sorted(path.name for path in (run / "stages").iterdir()) == stages
    result = (run / "model.safetensors").read_bytes()
    assert result == (run / "stages/02-quantize/model.safetensors").read_bytes()
    assert [a.stage for a in read_header(run / "model.safetensors").lineage] == ["baseline", "distill", "quantize"]
    assert (run / "recipe.yaml").read_text().startswith("name: tiny\n")
    assert "<h1>tiny" in (run / "report.html").read_text()
    events = [json.loads(line)["event"] for line in (run / "log.jsonl").read_text().splitlines()]
    assert events.count("epoch") == 6
    assert events[0] == "start"
    assert events[-1] == "end"


def test_the_report_says_what_the_contract_says(finished: Run) -> None:
    run = finished.directory
    report = json.loads((run / "report.json").read_text())
    assert (report["schema"], report["name"], report["task"], report["metric"], report["ok"]) == (
        1,
        "tiny",
        "classification",
        "accuracy",
        True,
    )
    product = 1.0
    for factor in report["factors"]:
        product *= factor["ratio"]
    assert product == pytest.approx(report["stages"][-1]["bitops_ratio"])
    for index, (stage, folder) in enumerate(zip(report["stages"], sorted((run / "stages").iterdir()), strict=True)):
        assert stage["index"] == index
        assert stage["checkpoint_bytes"] == (folder / "model.safetensors").stat().st_size
        assert stage["metric_ci95"][0] <= stage["metric_value"] <= stage["metric_ci95"][1]
        assert (stage["n_test"], stage["latency_ms"], stage["exits"]) == (360, None, [])
        assert stage["bitops"] == sum(layer["bitops"] for layer in stage["layers"])
    last = report["stages"][-1]
    assert last["bitops_ratio_nominal"] == pytest.approx(report["stages"][0]["macs"] / last["macs"] * 1024 / 16)


def test_the_files_are_what_the_schema_says(finished: Run) -> None:
    text = (finished.directory / "report.json").read_text()
    assert as_json(Report.model_validate_json(text), indent=2) == text
    for path in (finished.directory / "stages").glob("*/result.json"):
        assert as_json(StageResult.model_validate_json(path.read_text())) == path.read_text()
    assert len(json.loads(text)["stages"]) == 3


def test_what_is_printed(finished: Run) -> None:
    shown = finished.outcome.stdout
    assert "result: runs/tiny/model.safetensors   report: runs/tiny/report.json   page: runs/tiny/report.html" in shown
    assert all(name in shown for name in ("0 baseline", "1 distill", "2 quantize", "ratio (strict)"))
    table = shown.splitlines()[:8]
    reported = coc("report", finished.directory).stdout
    assert table == reported.splitlines()[:8], "one table of stages, whichever verb prints it"
    assert table[-1].startswith("└")
    lines = finished.outcome.stderr.splitlines()
    assert lines[0].startswith("0/2 baseline: epoch 1/2  loss ")
    assert not any("\x1b" in line for line in lines)


@pytest.mark.usefixtures("workspace")
def test_a_second_run_takes_all_from_the_cache_and_gives_the_same() -> None:
    before = RESULT.read_bytes()
    for out in ("runs/tiny", "other/place"):
        assert coc("compress", "recipe.yaml", "--out", out).stderr.count("from the cache") == 3
        assert Path(out, "model.safetensors").read_bytes() == before


@pytest.mark.full
@pytest.mark.usefixtures("workspace")
def test_fresh_makes_all_anew_to_the_same_bits() -> None:
    before = RESULT.read_bytes()
    assert coc("compress", "recipe.yaml", "--fresh").stderr.count("trained in") == 3
    assert RESULT.read_bytes() == before


@pytest.mark.full
@pytest.mark.usefixtures("workspace")
def test_a_damaged_cache_is_made_again() -> None:
    for path in Path("runs/.cache").glob("*/model.safetensors"):
        *content, last = path.read_bytes()
        path.write_bytes(bytes([*content, last ^ 1]))
    assert coc("compress", "recipe.yaml", "--out", "runs/again").stderr.count("trained in") == 3
    assert Path("runs/again/model.safetensors").read_bytes() == RESULT.read_bytes()


@pytest.mark.full
@pytest.mark.usefixtures("workspace")
@pytest.mark.parametrize("change", ["weights=3", "seed=1"])
def test_a_changed_stage_keeps_what_came_before(change: str) -> None:
    before = RESULT.read_bytes()
    done = coc("compress", "recipe.yaml", "--out", "runs/changed", "--set", f"chain.1.quantize.{change}")
    assert Path("runs/changed/model.safetensors").read_bytes() != before
    assert (done.stderr.count("from the cache"), done.stderr.count("trained in")) == (2, 1)


@pytest.mark.usefixtures("workspace")
def test_a_missed_limit_ends_with_3() -> None:
    limits = ["--set", "limits.max_drop=-0.5", "--set", "limits.min_bitops_ratio=10"]
    done = coc("compress", "recipe.yaml", "--out", "runs/limits", *limits, code=3)
    report = json.loads(Path("runs/limits/report.json").read_text())
    assert [(limit["name"], limit["ok"]) for limit in report["limits"]] == [
        ("max_drop", False),
        ("min_bitops_ratio", True),
    ]
    assert not report["ok"]
    assert "limit max_drop -0.5: " in done.stdout


FROM_RESULT = """\
name: next
seed: 3
device: cpu
data: {source: digits}
model: {checkpoint: runs/tiny/model.safetensors}
chain:
  - quantize: {weights: 2, activations: 3, epochs: 1}
"""


@pytest.mark.full
@pytest.mark.usefixtures("workspace")
def test_a_result_is_the_baseline_of_another_recipe() -> None:
    Path("next.yaml").write_text(FROM_RESULT)
    coc("compress", "next.yaml")
    report = json.loads(Path("runs/next/report.json").read_text())
    before = json.loads(Path("runs/tiny/report.json").read_text())["stages"][-1]
    assert report["stages"][0]["metric_value"] == before["metric_value"]
    assert report["stages"][0]["bitops"] == before["bitops"]
    assert report["stages"][0]["bitops_ratio_nominal"] == 1.0
    lineage = [ancestor.stage for ancestor in read_header(Path("runs/next/model.safetensors")).lineage]
    assert lineage == ["baseline", "distill", "quantize", "baseline", "quantize"]


@pytest.mark.full
@pytest.mark.usefixtures("workspace")
def test_a_checkpoint_that_may_know_the_test_images_is_pointed_out() -> None:
    Path("seen.yaml").write_text(FROM_RESULT.replace("seed: 3", "seed: 4").replace("epochs: 1", "epochs: 0"))
    told = coc("compress", "seen.yaml").stderr
    assert "warning: the checkpoint was made on other data or another split" in told


@pytest.mark.full
@pytest.mark.usefixtures("workspace")
def test_a_failed_run_leaves_no_result_of_another_recipe() -> None:
    command = ["compress", "recipe.yaml", "--out", "runs/mixed"]
    coc(*command)
    mine = Path("runs/mixed/stages/mine")
    mine.mkdir()
    Path("runs/mixed/stages/.DS_Store").touch()
    change = ["lr=100", "weight_decay=100", "optimizer=sgd", "epochs=3"]
    change = [part for text in change for part in ("--set", f"chain.1.quantize.{text}")]
    assert "training diverged in epoch" in coc(*command, *change, code=1).stderr
    assert not Path("runs/mixed/report.json").exists()
    coc(*command)
    assert Path("runs/mixed/report.json").exists()
    assert mine.is_dir()


def test_inspect_shows_layers_and_lineage(finished: Run) -> None:
    shown = coc("inspect", finished.directory / "model.safetensors").stdout
    assert "lineage: baseline -> distill -> quantize" in shown
    assert "stages.2.0.shortcut.0" in shown
    refused = coc("inspect", finished.folder / "recipe.yaml", code=2).stderr
    assert refused.endswith("is a recipe; run coc compress on it first, and name its run directory\n")


def test_what_a_run_directory_held_is_said(recipe: Callable[..., Path]) -> None:
    recipe(TINIEST_RECIPE[: TINIEST_RECIPE.index("chain:")] + "chain: []\n")
    coc("compress", "recipe.yaml")
    other = ("compress", "recipe.yaml", "--set", "name=other", "--out", "runs/tiny")
    said = "warning: runs/tiny held a run of recipe tiny, which this one of other replaces"
    assert coc(*other, "--quiet").stderr.splitlines()[0] == said
    assert "warning: runs/tiny held" not in coc(*other).stderr
    for name in ("a.png", "b.png", "c.png", "d.png", ".hidden"):
        Path("photos", name).parent.mkdir(exist_ok=True)
        Path("photos", name).touch()
    said = "warning: photos holds other things (a.png, b.png, c.png and 1 more), among which the run is written"
    command = ("compress", "recipe.yaml", "--quiet", "--out", "photos")
    assert coc(*command).stderr.splitlines()[0] == f"{said}; --out names another folder"
    assert "other things" not in coc(*command).stderr, "now it is a run"


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_plan_says_that_the_device_is_not_here(recipe: Callable[..., Path]) -> None:
    said = "there is no cuda here, where coc compress would need --device cpu or auto"
    recipe()
    assert f"warning: {said}" in coc("plan", "recipe.yaml", "--set", "device=cuda").stdout.splitlines()
    assert json.loads(coc("plan", "recipe.yaml", "--set", "device=cuda", "--json").stdout)["warnings"] == [said]


PETS_RECIPE = """\
name: pets
device: cpu
data:
  source: folder:pets
model: {arch: "cifar:resnet20", depth: 8, width: 4, train: {epochs: 1, batch: 16}}
chain:
  - quantize: {weights: 4, activations: 4, epochs: 1, batch: 16}
"""


def test_a_folder_of_pictures_from_recipe_to_report(recipe: Callable[..., Path]) -> None:
    for index in range(60):
        path = Path(f"pets/{['cat', 'dog'][index % 2]}/{index:02d}.png")
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (8, 8), (index, 2 * index, 200 * (index % 2))).save(path)
    coc("plan", str(recipe(PETS_RECIPE)))
    assert not Path("runs").exists()
    said = coc("compress", "recipe.yaml").stderr
    assert said.startswith("data: 60 of 60 images decoded\n")
    spec = read_header(Path("runs/pets/model.safetensors")).spec
    assert (spec.labels, spec.task) == (("cat", "dog"), "classification")
    assert spec.mean != (0.5, 0.5, 0.5)
    report = json.loads(Path("runs/pets/report.json").read_text())
    assert [stage["n_test"] for stage in report["stages"]] == [12, 12]
    again = coc("compress", "recipe.yaml").stderr
    assert (again.count("decoded"), again.count("from the cache")) == (0, 2)
    Path("pets/cat/00.png").write_bytes(b"")
    assert coc("compress", "recipe.yaml", code=2).stderr.endswith(
        "recipe.yaml:4: data.source: 1 image cannot be read: cat/00.png (empty)\n"
    )
    assert Path("runs/pets/report.json").exists()  # nothing was done, so what an earlier run left is still true


def test_commands_leave_the_handlers_of_signals_as_they_were() -> None:
    before = [signal.getsignal(stop) for stop in (signal.SIGINT, signal.SIGTERM)]
    coc("profiles", "list")
    assert [signal.getsignal(stop) for stop in (signal.SIGINT, signal.SIGTERM)] == before


@pytest.mark.full
def test_two_runs_do_not_share_a_directory(recipe: Callable[..., Path]) -> None:
    path = recipe()
    command = [*COC, "compress", str(path), "--set", "model.train.epochs=200"]
    first = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        _wait_for(Path("runs/tiny/log.jsonl"), '"epoch"')
        second = coc("compress", str(path), code=2)
        assert second.stderr == "runs/tiny: another coc is at work in it; wait, or choose another with --out\n"
        first.send_signal(signal.SIGINT)
        assert first.wait(60) == 130
    finally:
        first.kill()


def _wait_for(path: Path, text: str, seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not (path.exists() and text in path.read_text()):
        assert time.monotonic() < end, f"no {text} in {path}"
        time.sleep(0.02)


@pytest.mark.full
def test_an_interrupted_run_ends_with_130_and_goes_on(recipe: Callable[..., Path]) -> None:
    path = recipe()
    command = [*COC, "compress", str(path), "--set", "model.train.epochs=12"]
    for stop in (signal.SIGINT, signal.SIGTERM):
        background = [
            "bash",
            "-c",
            "trap '' INT; exec \"$@\"",
            "-",
            *command,
        ]  # SIGINT ignored, as a shell starts a job
        running = subprocess.Popen(background, stderr=subprocess.PIPE, text=True)
        log = Path("runs/tiny/log.jsonl")
        begun = log.read_text().count('"epoch"') if log.exists() else 0
        end = time.monotonic() + 60
        while not (log.exists() and log.read_text().count('"epoch"') > begun) and time.monotonic() < end:
            time.sleep(0.02)
        running.send_signal(stop)
        _, said = running.communicate(timeout=60)
        assert running.returncode == 130, said
        assert said.endswith("interrupted; the same command goes on from the last epoch\n")
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    resumed = [line for line in done.stderr.splitlines() if "0/2 baseline: epoch" in line]
    assert not any("epoch 1/12" in line for line in resumed)
    whole = subprocess.run([*command, "--fresh", "--out", "whole"], capture_output=True, check=True)
    assert whole.returncode == 0
    assert Path("whole/model.safetensors").read_bytes() == Path("runs/tiny/model.safetensors").read_bytes()


def test_an_unusable_run_directory(recipe: Callable[..., Path]) -> None:
    path = recipe()
    Path("taken").write_text("a file")
    done = coc("compress", str(path), "--out", "taken", code=2)
    assert done.stderr == "taken: cannot be the run directory: File exists; choose another with --out\n"
    assert os.path.isfile("taken")  # noqa: PTH113


@pytest.mark.full
def test_trust_is_asked_for_on_the_command_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    code = (
        "from torch import nn\n\n\ndef net(outputs, channels):\n"
        "    return nn.Sequential(nn.Conv2d(channels, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(144, outputs))\n"
    )
    Path("nets.py").write_text(code)
    text = "name: mine\ndevice: cpu\ndata: {source: digits}\nmodel: {arch: 'file:nets.py:net', train: {epochs: 1}}\n"
    Path("r.yaml").write_text(text + "chain:\n  - quantize: {weights: 8, activations: 8, epochs: 1}\n")
    coc("compress", "r.yaml")
    result = "runs/mine/model.safetensors"
    coc("inspect", result)
    save_format_1(load(Path(result)), Path(result))  # which needs the code, as format 2 does not
    refused = f"{result}: its architecture is code in 'nets.py'; pass --trust-code (trust_code=True) if you trust it\n"
    Path("next.yaml").write_text(
        Path("r.yaml")
        .read_text()
        .replace(
            text,
            text.replace("mine", "next").replace(
                "{arch: 'file:nets.py:net', train: {epochs: 1}}", f"{{checkpoint: {result}}}"
            ),
        )
    )
    for verb, path in (("inspect", result), ("plan", "next.yaml"), ("compress", "next.yaml")):
        assert coc(verb, path, code=2).stderr == refused
        coc(verb, path, "--trust-code")
