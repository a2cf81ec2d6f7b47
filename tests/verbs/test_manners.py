"""What all commands share: short help, quiet, verbose, one JSON object, completion."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from command_line import Run, coc
from tiny import TINY_EXITS

from coc_cli.report.schema import FILES
from coc_cli.report.schema.inspect import CheckpointReport
from coc_cli.report.schema.plan import PlanReport
from coc_cli.verbs import VERBS, command

RESULT = "runs/tiny/model.safetensors"


def test_every_command_has_short_help_and_flags_without_types() -> None:
    words = [(), *((name,) for name in VERBS), ("profiles", "measure")]
    assert len(words) > 10
    for verb in words:
        short, long = coc(*verb, "-h").stdout, coc(*verb, "--help").stdout
        assert short == long
        assert "-h, --help" in short
        assert "bool" not in short


def test_the_list_of_commands_is_not_cut() -> None:
    lines = coc("-h").stdout.partition("Commands:")[2].splitlines()
    assert sum(line.endswith(".") for line in lines) >= len(VERBS)
    assert not any(line.endswith("...") for line in lines)


def test_completion_knows_the_verbs() -> None:
    code = "import sys; sys.argv = ['coc']; from coc_cli.cli import main; main()"
    environment = {**os.environ, "_COC_COMPLETE": "complete_bash", "COMP_WORDS": "coc pr", "COMP_CWORD": "1"}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False)
    assert done.stdout.split() == ["predict-exit", "profiles"]


@pytest.mark.parametrize(
    "verb", [("compress", "x"), ("predict-exit", "x"), ("export", "x"), ("bench", "x"), ("profiles", "measure", "x")]
)
def test_quiet_and_verbose_do_not_go_together(verb: tuple[str, ...]) -> None:
    said = coc(*verb, "-q", "--verbose", code=2)
    assert (said.stdout, said.stderr) == ("", "--quiet: does not go with --verbose; give one of them\n")


@pytest.mark.usefixtures("workspace")
def test_quiet_prints_the_result_alone() -> None:
    done = coc("compress", "recipe.yaml", "--quiet")
    assert all(": warning: " in line for line in done.stderr.splitlines())
    assert f"result: {RESULT}" in done.stdout
    assert "its key is" in coc("compress", "recipe.yaml", "-v").stderr


@pytest.mark.usefixtures("workspace")
def test_compress_prints_its_report_and_nothing_else() -> None:
    done = coc("compress", "recipe.yaml", "--json")
    assert json.loads(done.stdout) == json.loads(Path("runs/tiny/report.json").read_text())
    assert done.stderr.count("from the cache") == 3
    missed = coc("compress", "recipe.yaml", "--json", "-q", "--set", "limits.max_drop=-1", code=3)
    assert all(": warning: " in line for line in missed.stderr.splitlines())
    assert json.loads(missed.stdout)["ok"] is False


def test_plan_prints_what_its_schema_says(finished: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(finished.folder)
    plan = PlanReport.model_validate_json(coc("plan", "recipe.yaml", "--json").stdout)
    report = json.loads(Path("runs/tiny/report.json").read_text())
    assert [(one.name, one.macs, one.params, one.checkpoint_bytes) for one in plan.stages] == [
        (one["name"], one["macs"], one["params"], one["checkpoint_bytes"]) for one in report["stages"]
    ]
    assert [one.bitops_ratio[0] for one in plan.stages] == [one["bitops_ratio"] for one in report["stages"]]
    assert (plan.data.images, plan.data.shape, plan.data.labels) == (1797, (1, 8, 8), 10)


def test_what_a_users_code_prints_is_kept_off_the_object(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("nets.py").write_text(
        "from torch import nn\nprint('hello')\n\ndef net(outputs, channels):\n"
        "    return nn.Sequential(nn.Conv2d(channels, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(144, outputs))\n"
    )
    Path("r.yaml").write_text(
        "name: mine\ndata: {source: digits}\nmodel: {arch: 'file:nets.py:net', train: {epochs: 1}}\n"
        "chain:\n  - quantize: {weights: 8, activations: 8}\n"
    )
    done = coc("plan", "r.yaml", "--json")
    assert json.loads(done.stdout)["code_files"] == ["nets.py"]
    assert "hello\n" in done.stderr


def test_inspect_prints_what_its_schema_says(finished: Run, exits_run: Path) -> None:
    path = finished.directory / "model.safetensors"
    found = CheckpointReport.model_validate_json(coc("inspect", path, "--json").stdout)
    report = json.loads((finished.directory / "report.json").read_text())
    assert [one.stage for one in found.lineage] == ["baseline", "distill", "quantize"]
    assert (found.bitops, found.params) == (report["stages"][-1]["bitops"], report["stages"][-1]["params"])
    assert [layer.name for layer in found.layers] == [layer["name"] for layer in report["stages"][-1]["layers"]]
    assert (found.exits, found.threshold) == ([], None)
    with_exits = json.loads(coc("inspect", exits_run / "model.safetensors", "--json").stdout)
    assert len(with_exits["exits"]) == 6
    assert with_exits["threshold"] > 0


def test_profiles_are_one_object() -> None:
    found = json.loads(coc("profiles", "--json").stdout)["profiles"]
    assert {"jetson-tx2-gpu", "i7-10700"} <= {profile["name"] for profile in found}


def test_a_measured_profile_is_one_object(exits_run: Path, tmp_path: Path) -> None:
    out = tmp_path / "here.yaml"
    done = coc("profiles", "measure", exits_run, "--seconds", "0.2", "--out", out, "--name", "here", "--json", "-q")
    content = json.loads(done.stdout)
    assert (content["path"], content["profile"]["name"], done.stderr) == (str(out), "here", "")
    assert out.is_file()


@pytest.mark.full
def test_predict_exit_prints_its_file(exits_run: Path, tmp_path: Path, few_steps: None) -> None:  # noqa: ARG001
    done = coc("predict-exit", exits_run, "--out", tmp_path, "--profile", "cortex-m7", "--json", "--quiet")
    assert json.loads(done.stdout) == json.loads((tmp_path / "predict-exit.json").read_text())
    assert done.stderr == ""


@pytest.mark.full
def test_a_run_that_predicts_exits_is_one_object(recipe: Callable[[str], Path], few_steps: None) -> None:  # noqa: ARG001
    text = TINY_EXITS.replace("depth: 14", "depth: 8").replace("source: digits", "source: digits, limit: 300")
    done = coc("compress", recipe(text + "predict_exit: {profile: cortex-m7}\n"), "--json", "-q", code=None)
    assert json.loads(done.stdout) == json.loads(Path("runs/tiny/report.json").read_text())
    assert Path("runs/tiny/predict-exit/cortex-m7/predict-exit.json").is_file()
    assert all("warning: " in line for line in done.stderr.splitlines())


def test_errors_stay_on_stderr_with_their_code() -> None:
    done = coc("plan", "no.yaml", "--json", code=2)
    assert (done.stdout, done.stderr) == ("", "no.yaml: cannot be read: No such file or directory\n")


@pytest.mark.parametrize("name", ["plan", "inspect"])
def test_the_schemas_of_what_is_printed(name: str) -> None:
    assert json.loads(coc("schema", "--of", name).stdout)["title"] == FILES[name].__name__


def test_a_verb_that_is_silent_for_long_says_what_it_is_at(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(command, "LIFE_SECONDS", 0.02)
    with command.speaker(quiet=False, verbose=False) as say:
        time.sleep(0.1)
        assert capsys.readouterr().err == "", "nothing was said that could be repeated"
        say("fitting the predictor")
        said, end = "", time.monotonic() + 10
        while "still at work" not in said:
            assert time.monotonic() < end
            said += capsys.readouterr().err
    assert said.startswith("fitting the predictor\nstill at work after 0 s: fitting the predictor\n")


def test_a_quiet_verb_says_warnings_alone(capsys: pytest.CaptureFixture[str]) -> None:
    with command.speaker(quiet=True, verbose=False) as say:
        say("fitting")
        say("warning: so it is")
    assert capsys.readouterr().err == "warning: so it is\n"
    with command.speaker(quiet=False, verbose=True) as say:
        say("fitting")
    assert capsys.readouterr().err == "     0.0 s  fitting\n"
