"""coc predict-exit from a run directory to a schedule, and what it refuses."""

from __future__ import annotations

import csv
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from command_line import Run, coc
from tiny import TINY_EXITS

from coc_cli.dvfs.schedule import replayed
from coc_cli.report.schema import PredictExitReport, Report, ScheduleLine
from coc_cli.report.schema.part import as_json

ROOT = Path(__file__).parents[2]
POLICIES = {
    "classic",
    "threshold",
    "hierarchical",
    "placement",
    "subset",
    "patience",
    "predictive-conv",
    "predictive",
    "predictive-commit",
    "oracle",
    "oracle-0",
}


def tiny_exits(source: str, max_drop: str) -> str:
    """Return the tiny recipe with exits, on other images."""
    return TINY_EXITS.replace("{source: digits}", f"{{source: {source}}}").replace("0.02", max_drop)


def files(folder: Path) -> tuple[dict, list[dict]]:
    report = json.loads((folder / "predict-exit.json").read_text())
    return report, [json.loads(line) for line in (folder / "schedule.jsonl").read_text().splitlines()]


def as_in_the_schema(folder: Path) -> None:
    """Check that all JSON of a forecast is what the schema has, keys in its order."""
    text = (folder / "predict-exit.json").read_text()
    assert as_json(PredictExitReport.model_validate_json(text), indent=2) == text
    lines = (folder / "schedule.jsonl").read_text().splitlines()
    assert [as_json(ScheduleLine.model_validate_json(line)) for line in lines] == lines


def sound(folder: Path, n: int) -> dict:
    """Check what every output must hold, and give the report."""
    as_in_the_schema(folder)
    report, lines = files(folder)
    assert len(lines) == report["n_test"] == n
    by_name = {(row["policy"], row["governor"]): row for row in report["policies"]}
    first = by_name["classic", "race"]
    assert (first["macs_reduction"], first["energy_saving"]) == (0.0, 0.0)
    assert first["macs_mean"] == report["full_macs"]
    plain_ms = first["latency_ms_mean"]
    for row in report["policies"]:
        assert 0 <= row["deadline_miss_rate"] <= 1
        assert row["energy_saving"] == pytest.approx(1 - row["energy_mj_mean"] / first["energy_mj_mean"])
        if row["governor"] in ("race", "constant") and row["least_deadline"] <= report["deadline_ms"] / plain_ms:
            assert row["deadline_miss_rate"] == 0, row
    scheduled = by_name[report["schedule"]["policy"], report["schedule"]["governor"]]
    again = replayed(lines)
    for key in ("latency_ms_mean", "energy_mj_mean", "deadline_miss_rate"):
        assert again[key] == pytest.approx(scheduled[key], rel=1e-9), key
    for line in lines:
        assert line["energy_mj"] == pytest.approx(sum(segment["energy_mj"] for segment in line["segments"]))
        assert line["deadline_met"] == (line["latency_ms"] <= line["deadline_ms"] + 1e-9)
    right = sum(line["label"] == line["prediction"] for line in lines)
    if report["metric"] == "accuracy":
        assert right / n == pytest.approx(scheduled["metric_value"])
    rows = list(csv.DictReader((folder / "schedule.csv").open()))
    assert sum(float(row["energy_mj"]) for row in rows) == pytest.approx(sum(line["energy_mj"] for line in lines))
    assert (folder / "predictor.safetensors").stat().st_size > 100
    return report


@pytest.mark.full
def test_a_run_with_exits_gets_all_policies_and_a_schedule(predicted: Run) -> None:
    shown = predicted.outcome.stdout
    report = sound(predicted.directory / "predict-exit/cortex-m7", 360)
    assert {row["policy"] for row in report["policies"]} == POLICIES
    assert report["deadline"] == "1.25x"
    assert report["not_applicable"] == []
    assert report["predictor_macs"] <= report["full_macs"] / 1000
    assert report["calibration_error"] < 0.1
    points = {entry["policy"]: len(entry["points"]) for entry in report["curves"]}
    assert points.pop("classic") == 1, "it has no parameter"
    assert points.pop("patience") == 5, "as many as there are exits less one"
    assert all(count >= 8 for count in points.values()), points
    assert len(shown.splitlines()) <= 20, "the answer first"
    assert "(model)" in shown
    assert shown.splitlines()[: len(report["answer"])] == report["answer"]
    page = (predicted.directory / "report.html").read_text()
    assert "Predictive exit on cortex-m7" in page
    kinds = [example["kind"] for example in report["examples"]]
    assert kinds == sorted(kinds), "easy, hard, mispredicted"
    assert 0 < len(kinds) == page.count("data:image/png") <= 6
    tables = coc("predict-exit", predicted.directory, "--all").stdout
    for policy in POLICIES:
        assert policy in tables
    chosen = next(row for row in report["policies"] if row["policy"] == report["schedule"]["policy"])
    assert chosen["family"] != "bound"
    assert chosen["energy_mj_mean"] <= report["policies"][0]["energy_mj_mean"], "no worse than doing nothing"
    assert all(row["drop_vs_baseline"] is not None for row in report["policies"])
    assert {row["opponent"] for one in report["equal_score"] for row in one["against"]} >= {"classic", "subset"}


@pytest.mark.full
@pytest.mark.usefixtures("few_steps")
def test_an_inference_shorter_than_a_change_of_level_holds_one_and_says_so(exits_run: Path, tmp_path: Path) -> None:
    shipped = (ROOT / "coc_cli/dvfs/profiles/i7-10700.yaml").read_text()
    assert "time_us: {value: 50," in shipped
    (tmp_path / "slow.yaml").write_text(shipped.replace("time_us: {value: 50,", "time_us: {value: 500000,"))
    out = tmp_path / "out"
    done = coc("predict-exit", exits_run, "--profile", tmp_path / "slow.yaml", "--out", out)
    report, lines = files(out)
    note = report["notes"][0]
    assert f"note: {note}" in done.stdout
    assert f"a change of frequency 500 ms: {report['schedule']['policy']} holds one level, " in note
    assert len({segment["frequency_mhz"] for line in lines for segment in line["segments"]}) == 1
    assert all(row["one_level"] for row in report["policies"] if row["governor"] == "pace")


@pytest.mark.full
def test_the_same_command_gives_the_same_files(few_exits_run: Path, tmp_path: Path) -> None:
    """In processes of their own, whose sets have another order."""
    for name, hashes in (("a", "1"), ("b", "2")):
        command = [sys.executable, "-m", "coc_cli", "predict-exit", str(few_exits_run), "--out", str(tmp_path / name)]
        subprocess.run(command, env={**os.environ, "PYTHONHASHSEED": hashes}, capture_output=True, check=True)
    for file in ("predict-exit.json", "schedule.jsonl", "schedule.csv", "predictor.safetensors"):
        assert (tmp_path / "a" / file).read_bytes() == (tmp_path / "b" / file).read_bytes()


@pytest.mark.full
@pytest.mark.usefixtures("few_steps")
def test_a_checkpoint_by_itself_needs_images(few_exits_run: Path, tmp_path: Path) -> None:
    checkpoint = few_exits_run / "model.safetensors"
    refused = coc("predict-exit", checkpoint, code=2).stderr
    assert refused == f"{checkpoint}: is a checkpoint by itself; name a recipe with its images: --data RECIPE\n"
    coc("predict-exit", checkpoint, "--data", few_exits_run / "recipe.yaml", "--out", tmp_path / "out")
    report = sound(tmp_path / "out", 300)
    assert {row["policy"] for row in report["policies"]} == POLICIES
    assert "Predictive exit on" in (tmp_path / "out/report.html").read_text()


@pytest.mark.full
@pytest.mark.usefixtures("few_steps")
def test_numbers_have_policies_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    text = tiny_exits("digits-rotation, limit: 400", "3.0")
    Path("r.yaml").write_text(text + "predict_exit: {profile: i7-10700, deadline: 2x}\n")
    coc("compress", "r.yaml")
    report = sound(Path("runs/tiny/predict-exit/i7-10700"), 360)
    assert report["metric"] == "mae"
    assert set(report["not_applicable"]) == {"patience", "predictive-conv"}
    text = Path("runs/tiny/report.json").read_text()
    assert as_json(Report.model_validate_json(text), indent=2) == text
    assert list(json.loads(text)["stages"][0]["mae_by_target"]) == ["angle"]
    assert {row["policy"] for row in report["policies"]} == POLICIES - {"patience", "predictive-conv"}


@pytest.mark.full
@pytest.mark.usefixtures("few_steps")
def test_a_promise_is_tested_on_images_that_nothing_was_chosen_by(exits_run: Path, tmp_path: Path) -> None:
    said = coc("predict-exit", exits_run, "--confidence", "0.9", "--profile", "cortex-m7", "--out", tmp_path).stdout
    report = sound(tmp_path, 360)
    (promise,) = (note for note in report["notes"] if note.startswith("promised"))
    assert "with a probability of 0.9: leaving early loses at most 2.00% of the accuracy" in promise
    assert f"note: {promise}" in said
    chosen = report["schedule"]
    (row,) = (
        one for one in report["policies"] if (one["policy"], one["governor"]) == (chosen["policy"], chosen["governor"])
    )
    assert row["metric_value"] >= report["policies"][0]["metric_value"] - 0.04


WRONG = {
    "no such run": (["nowhere"], "nowhere: no such run directory or checkpoint"),
    "an unknown profile": (
        ["RUN", "--profile", "cortex-m8"],
        "--profile: no such profile or file 'cortex-m8'; did you mean 'cortex-m7'?",
    ),
    "no deadline": (["RUN", "--deadline", "soon"], "--deadline: 'soon' is none; it needs a form like 1.25x or 12ms"),
    "a deadline of nothing": (["RUN", "--deadline", "0x"], "--deadline: '0x' is none; it needs a form like 1.25x or 12ms"),
    "a deadline that no path keeps": (
        ["RUN", "--deadline", "0.0001ms"],
        "--deadline: 0.0001ms is 0.0001 ms, but the shortest path takes",
    ),
    "a share that no path keeps": (["RUN", "--deadline", "0.001x"], "--deadline: 0.001x is"),
    "a promise that so few images cannot show": (
        ["RUN", "--confidence", "0.999"],
        "--confidence: max_drop 0.02 needs 684 images of validation and holdout; with 300 the least that can be promised is 0.045",
    ),
    "no run": (["EMPTY"], "EMPTY: is no run directory; name one that coc compress has finished"),
    "no exits": (
        ["BASELINE", "--data", "RECIPE"],
        "BASELINE: has no exits to predict; add '- early_exit: {every: block}' to its chain",
    ),
    "other images": (["CHECKPOINT", "--data", "OTHER"], "OTHER:2: data: is regression of (1, 8, 8) images with 1 labels;"),
    "empty data": (["CHECKPOINT", "--data", "NOTHING"], "NOTHING:2: data.source: "),
}  # fmt: skip


@pytest.mark.parametrize("what", WRONG)
@pytest.mark.usefixtures("few_steps")
def test_wrong_input_is_one_line(what: str, few_exits_run: Path, tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    text = (few_exits_run / "recipe.yaml").read_text()
    other, nothing = tmp_path / "other.yaml", tmp_path / "nothing.yaml"
    for path, source in ((other, "digits-rotation"), (nothing, f"folder:{tmp_path / 'images'}")):
        path.write_text(tiny_exits(source, "3.0").replace("device: cpu\n", ""))
    assert text
    (tmp_path / "empty").mkdir()
    names = {
        "RUN": few_exits_run,
        "CHECKPOINT": few_exits_run / "model.safetensors",
        "BASELINE": few_exits_run / "stages/00-baseline/model.safetensors",
        "RECIPE": few_exits_run / "recipe.yaml",
        "OTHER": other,
        "NOTHING": nothing,
        "EMPTY": tmp_path / "empty",
    }
    args, message = WRONG[what]
    done = coc("predict-exit", *[str(names.get(arg, arg)) for arg in args], code=2)
    for name, path in names.items():
        message = message.replace(name, str(path)) if message.startswith(name) else message
    assert done.stderr.startswith(message) or done.stderr.splitlines()[-1].startswith(message), done.stderr
    assert "Traceback" not in done.stderr


def test_a_recipe_is_told_of_its_section_before_any_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    text = TINY_EXITS
    Path("a.yaml").write_text(text + "predict_exit: {profile: cortex-m8}\n")
    assert coc("plan", "a.yaml", code=2).stderr == (
        "a.yaml:8: predict_exit.profile: no such profile or file 'cortex-m8'; did you mean 'cortex-m7'?\n"
    )
    Path("b.yaml").write_text(text + "predict_exit: {deadline: 5}\n")
    assert "b.yaml:8: predict_exit.deadline: needs text, got 5" in coc("plan", "b.yaml", code=2).stderr
    chain = text.index("chain:")
    Path("c.yaml").write_text(text[:chain] + "chain:\n  - quantize: {weights: 8, activations: 8}\npredict_exit: {}\n")
    assert coc("plan", "c.yaml", code=2).stderr == (
        "c.yaml:7: predict_exit: the chain leaves no exits; add '- early_exit: {every: block}'\n"
    )


def test_profiles_are_listed_and_checked(tmp_path: Path) -> None:
    listed = coc("profiles").stdout
    assert all(name in listed for name in ("cortex-m7", "i7-10700", "jetson-tx2-cpu", "jetson-tx2-gpu"))
    text = (ROOT / "coc_cli/dvfs/profiles/cortex-m7.yaml").read_text()
    (tmp_path / "p.yaml").write_text(text.replace("values: [60, 120,", "values: [120, 60,"))
    refused = coc("profiles", str(tmp_path / "p.yaml"), code=2).stderr
    assert refused == f"{tmp_path / 'p.yaml'}:4: frequency_mhz.values: levels must rise from each to the next\n"


@pytest.mark.full
def test_the_quickstarts_run_is_done_in_a_minute(quickstart: Path, tmp_path: Path) -> None:
    import time

    began = time.monotonic()
    coc("predict-exit", quickstart, "--out", tmp_path)
    assert time.monotonic() - began < 60
    sound(tmp_path, 360)
