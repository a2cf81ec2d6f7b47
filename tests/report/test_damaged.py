"""A damaged, partial or running run: what is there is shown, what is missing is said."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import fake_runs
import pytest
from command_line import Run, coc

from coc_cli.files.checksum import sealed
from coc_cli.report.delivery import deliver, page_of, write_page_for
from coc_cli.report.read.run import read_runs


def cut(path: Path) -> None:
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])


def without_report(run: Path) -> None:
    (run / "report.json").unlink()
    stages = run / "stages"
    (stages / "02-early_exit/result.json").unlink()


DAMAGES: dict[str, tuple[Callable[[Path], object], str]] = {
    "a truncated report": (lambda run: cut(run / "report.json"), "report.json is damaged: "),
    "a report that is a list": (lambda run: (run / "report.json").write_text("[]"), "report.json is not a mapping"),
    "a report of nothing": (lambda run: (run / "report.json").write_text("\n"), "report.json is empty"),
    "a report too deep": (lambda run: (run / "report.json").write_text("[" * 100_000), "report.json is damaged: "),
    "a recipe too deep": (lambda run: (run / "recipe.yaml").write_text("[" * 10_000), "recipe.yaml is damaged"),
    "an empty report": (lambda run: (run / "report.json").write_text("{}"), "report.json has schema None"),
    "a binary report": (lambda run: (run / "report.json").write_bytes(b"\xff\xfe"), "report.json cannot be read"),
    "no report": (lambda run: (run / "report.json").unlink(), "report.json is not there"),
    "an interrupted run": (without_report, "no result of stage 2 early_exit"),
    "no recipe": (lambda run: (run / "recipe.yaml").unlink(), "recipe.yaml is not there"),
    "a truncated recipe": (lambda run: (run / "recipe.yaml").write_text("a: [1"), "recipe.yaml is damaged"),
    "a truncated stage": (
        lambda run: cut(run / "stages/01-quantize/result.json"),
        "stages/01-quantize/result.json is damaged: ",
    ),
    "a truncated forecast": (
        lambda run: cut(run / "predict-exit/cortex-m7/predict-exit.json"),
        "predict-exit/cortex-m7/predict-exit.json is damaged: ",
    ),
    "a forecast of another version": (
        lambda run: fake_runs.forecast(run / "predict-exit/later", schema=7),
        "predict-exit/later/predict-exit.json has schema 7; this coc knows 1",
    ),
    "no schedule": (
        lambda run: (run / "predict-exit/cortex-m7/schedule.jsonl").unlink(),
        "predict-exit/cortex-m7/schedule.jsonl is not there",
    ),
    "a truncated schedule": (
        lambda run: (run / "predict-exit/cortex-m7/schedule.jsonl").write_text('{"input": 0'),
        "predict-exit/cortex-m7/schedule.jsonl: 1 damaged line left out",
    ),
    "a forecast of another network": (
        lambda run: (run / "stages/02-early_exit/result.json").write_text('{"sha256": "other", "epochs": []}'),
        "predict-exit/cortex-m7/predict-exit.json is of another network than this run's result",
    ),
    "stages that are no list": (
        lambda run: (run / "report.json").write_text(json.dumps(fake_runs.report(stages=7))),
        "MACs, BitOps and ratios are in report.json alone",
    ),
    "a stage that is none": (
        lambda run: (run / "report.json").write_text(json.dumps(fake_runs.report(stages=[fake_runs.BASELINE, None]))),
        "report.json, stage 1 is not a mapping",
    ),
    "numbers that are none": (
        lambda run: (run / "report.json").write_text(
            json.dumps(
                fake_runs.report(stages=[{**fake_runs.BASELINE, "bitops": "many", "macs": float("nan"), "exits": 3}])
            )
        ),
        "report.json, stage baseline lacks macs, bitops, exits",
    ),
    "layers without bits": (
        lambda run: (run / "report.json").write_text(
            json.dumps(
                fake_runs.report(stages=[{**fake_runs.BASELINE, "layers": [{"name": f"conv{n}"} for n in range(9)]}])
            )
        ),
        "report.json, stage baseline, layer conv0 and 8 more there lack macs, bitops, params, weight_bits,",
    ),
    "lists that are none": (
        lambda run: (run / "report.json").write_text(
            json.dumps(fake_runs.report(limits={"a": 1}, factors=[None, 3], environment=[], command=7, seed="x"))
        ),
        "report.json lacks limits, command",
    ),
}


LONG = ("a recipe too deep",)  # to read


@pytest.mark.parametrize("form", ["terminal", "html", "md", "csv", "json"])
@pytest.mark.parametrize("what", [pytest.param(what, marks=[pytest.mark.full] * (what in LONG)) for what in DAMAGES])
def test_what_is_there_is_shown(what: str, form: str, small: Path) -> None:
    damage, sentence = DAMAGES[what]
    damage(small)
    [run] = read_runs([small])
    assert any(said.startswith(sentence) for said in run.missing), run.missing
    given = deliver([small], form, Path("out"))
    text = Path(given).read_text()
    assert "small" in text
    if run.stages and form != "terminal":
        assert "baseline" in text
    if form == "html":
        assert "Missing here" in text


@pytest.mark.parametrize("key", [*fake_runs.report(), *fake_runs.EXITS])
@pytest.mark.parametrize("value", [None, "text", -1, [], {}, [[]], True])
def test_no_wrong_value_stops_a_report(key: str, value: object, small: Path) -> None:
    content = fake_runs.report()
    if key in content:
        content[key] = value
    else:
        content["stages"] = [fake_runs.BASELINE, {**fake_runs.EXITS, key: value}, fake_runs.QUANTIZE]
    (small / "report.json").write_text(json.dumps(content))
    for form in ("html", "md", "csv", "json", "terminal"):
        assert Path(deliver([small], form, Path("out"))).read_text()


@pytest.mark.parametrize(
    "value", [None, "text", -1, *(pytest.param(value, marks=pytest.mark.full) for value in ([], {}, [[]], [{}], True))]
)
def test_no_wrong_value_in_a_forecast_stops_a_report(value: object, small: Path) -> None:
    file = small / "predict-exit/cortex-m7/predict-exit.json"
    content = json.loads(file.read_text())
    for key in content:
        file.write_text(json.dumps({**content, key: value}))
        assert "predict-exit" in Path(deliver([small], "html", Path("out"))).read_text() or key
    for key in content["policies"][0]:
        file.write_text(json.dumps({**content, "policies": [{**content["policies"][0], key: value}]}))
        assert Path(deliver([small], "html", Path("out"))).read_text()
    schedule = small / "predict-exit/cortex-m7/schedule.jsonl"
    file.write_text(json.dumps(content))
    for key in fake_runs.line(0, 2):
        schedule.write_text(json.dumps({**fake_runs.line(0, 2), key: value}) + "\n")
        assert Path(deliver([small], "html", Path("out"))).read_text()


def test_an_interrupted_run_shows_its_stages_and_its_log(small: Path) -> None:
    without_report(small)
    epochs = [{"event": "epoch", "index": 2, "epoch": n, "epochs": 9, "loss": 1.0, "metric": 0.5} for n in (1, 2, 3, 2)]
    with (small / "log.jsonl").open("a") as log:
        log.write("".join(json.dumps(epoch) + "\n" for epoch in epochs) + '{"event": "ep')
    [run] = read_runs([small])
    assert [stage.name for stage in run.stages] == ["baseline", "quantize"]
    assert run.verdict == "not finished"
    assert run.command == "coc compress other.yaml"
    assert run.stages[1].checkpoint_bytes == 1000, "of the file"
    assert run.stages[1].bitops is None
    assert "log.jsonl: 1 damaged line left out" in run.missing
    assert run.stages[1].bytes_ratio == 4.0
    assert "no result of stage 2 early_exit" in run.missing
    assert any(said.startswith("whether predict-exit/cortex-m7/") for said in run.missing)
    assert any("stage 2 is in epoch 2 of 9, or stopped there" in said for said in run.missing), run.missing


def test_a_forecast_by_itself_is_a_report(tmp_path: Path) -> None:
    folder = fake_runs.forecast(tmp_path / "alone")
    said: list[str] = []
    write_page_for(folder, said.append)
    page = (folder / "report.html").read_text()
    assert said == []
    assert "Predictive exit on alone" in page
    assert "Missing here" not in page


def test_a_forecast_in_a_run_makes_the_runs_page(small: Path) -> None:
    write_page_for(small / "predict-exit/cortex-m7", pytest.fail)
    assert "Predictive exit on cortex-m7" in page_of(small / "predict-exit/cortex-m7").read_text()
    assert page_of(small / "predict-exit/cortex-m7") == page_of(small) == small / "report.html"


def test_a_page_that_fails_costs_one_line(small: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("coc_cli.report.page.html", lambda _: 1 / 0)
    said: list[str] = []
    write_page_for(small, said.append)
    assert said == ["small/report.html was not written: ZeroDivisionError: division by zero"]


def test_what_does_not_match_its_checksum_is_said_first(finished: Run, tmp_path: Path) -> None:
    run = tmp_path / "run"
    for name, edit in {
        "report.json": lambda path: path.write_text(path.read_text().replace('"seed": 3', '"seed": 4')),
        "stages/01-distill/result.json": lambda path: path.write_text(
            path.read_text().replace('"n_test": 3', '"n_test": 9')
        ),
        "stages/02-quantize/model.safetensors": lambda path: path.write_bytes(path.read_bytes()[:-1] + b"\0"),
    }.items():
        shutil.rmtree(run, ignore_errors=True)
        shutil.copytree(finished.directory, run)
        assert read_runs([run])[0].damaged == ()
        edit(run / name)
        expected = f"damaged: {name} does not match its checksum"
        assert read_runs([run])[0].damaged[0] == expected
        for form in ("terminal", "md", "html", "json"):
            out = tmp_path / form
            coc("report", run, "--format", form, "--out", out)
            assert expected.replace("_", "\\_" if form == "md" and "_" in name else "_") in out.read_text(), form


def test_a_report_that_says_another_number_than_was_measured_says_so(finished: Run, tmp_path: Path) -> None:
    shutil.copytree(finished.directory, tmp_path / "run")
    path = tmp_path / "run/report.json"
    content = json.loads(path.read_text())
    content["stages"][2] |= {"metric_value": 0.9999, "n_test": 1_000_000}
    path.write_text(json.dumps(sealed(content)))
    assert read_runs([tmp_path / "run"])[0].damaged == (
        "damaged: report.json has another metric_value of stage 2 than its result.json",
        "damaged: report.json has another n_test of stage 2 than its result.json",
    )
