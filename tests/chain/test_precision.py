"""In which arithmetic stages train: by flags and numbers, kept to when a run goes on, and part of what results."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from command_line import coc
from tiny import TINIEST_RECIPE

from coc_cli.nets.arithmetic import FLOAT32, WORTH_COMPILING, Abilities, Arithmetic
from coc_cli.report.schema.run import StageResult

ALL, NONE = Abilities(bfloat16=True, compiler=True), Abilities(bfloat16=False, compiler=False)
AUTO = TINIEST_RECIPE.replace("precision: float32", "precision: auto")


@pytest.fixture
def able(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    monkeypatch.setattr(Abilities, "of", classmethod(lambda *_: ALL))
    return monkeypatch


def test_flags_and_numbers_decide() -> None:
    assert ALL.arithmetic("auto", WORTH_COMPILING, quantised=True) == Arithmetic("bfloat16", True)
    assert ALL.arithmetic("auto", WORTH_COMPILING, quantised=False) == Arithmetic("bfloat16", False)
    assert ALL.arithmetic("auto", WORTH_COMPILING / 2, quantised=True) == Arithmetic("bfloat16", False)
    assert ALL.arithmetic("auto", 0, quantised=True) == FLOAT32, "nothing is trained"
    assert ALL.arithmetic("float32", WORTH_COMPILING, quantised=True) == FLOAT32
    assert NONE.arithmetic("auto", WORTH_COMPILING, quantised=True) == FLOAT32
    assert NONE.arithmetic("bfloat16", 1, quantised=True) == Arithmetic("bfloat16", False)
    compiling = Abilities(bfloat16=False, compiler=True)
    assert compiling.arithmetic("auto", WORTH_COMPILING, quantised=True) == Arithmetic("float32", True)
    assert (ALL.missing(NONE), ALL.missing(ALL), NONE.missing(ALL)) == ("bfloat16 and a compiler", "", "")


def run(out: str = "runs/tiny", *more: str) -> tuple[list[str], dict[str, str], list[StageResult]]:
    """Run the recipe; return what it said, the key of each stage and the stages' results."""
    Path("recipe.yaml").write_text(AUTO)
    ended = coc("compress", "recipe.yaml", "--out", out, *more)
    assert ended.code == 0, ended
    events = [json.loads(line) for line in (Path(out) / "log.jsonl").read_text().splitlines()]
    keys = {event["stage"]: event["key"] for event in events if event["event"] == "begin"}
    folders = sorted((Path(out) / "stages").iterdir())
    results = [StageResult.model_validate_json((folder / "result.json").read_text()) for folder in folders]
    return ended.stderr.splitlines(), keys, results


@pytest.mark.full
def test_a_run_keeps_to_what_it_began_with(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, able: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    able.setattr(Abilities, "of", classmethod(lambda *_: NONE))
    _, plain, results = run()
    assert [result.arithmetic for result in results] == ["float32", "float32"]
    able.setattr(Abilities, "of", classmethod(lambda *_: ALL))
    _, again, _ = run()
    assert again == plain, "a machine that can do more goes on as before"
    said, keys, results = run("runs/other")
    assert not any("this run began" in line for line in said)
    assert not set(keys.values()) & set(plain.values())
    assert [result.arithmetic for result in results] == ["bfloat16", "bfloat16"]
    report = json.loads(Path("runs/other/report.json").read_text())
    assert [stage["arithmetic"] for stage in report["stages"]] == ["bfloat16", "bfloat16"]
    assert "<dt>trained in</dt><dd>bfloat16</dd>" in Path("runs/other/report.html").read_text()
    able.setattr(Abilities, "of", classmethod(lambda *_: NONE))
    said, moved, _ = run("runs/other")
    fixed = coc("compress", "recipe.yaml", "--out", "runs/fixed", "--set", "precision=float32").stderr
    assert "this run began" not in fixed, "it needs nothing that this machine lacks"
    what = "warning: this run began with bfloat16 and a compiler, which this machine lacks; its stages are made anew"
    assert [line for line in said if what in line]
    assert moved == plain
    (tmp_path / "runs/tiny/precision.json").write_text("{broken")
    assert run()[1] == plain


def test_a_compiler_that_fails_is_no_part_of_the_choice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, able: pytest.MonkeyPatch
) -> None:
    """What a result was trained in is what its key and its file say."""
    monkeypatch.chdir(tmp_path)
    able.setattr("coc_cli.nets.arithmetic.WORTH_COMPILING", 1.0)
    able.setattr("coc_cli.nets.lsq.check_compiler", lambda _: "no headers")
    Path("recipe.yaml").write_text(AUTO)
    said = coc("compress", "recipe.yaml").stderr
    assert said.count("warning: quantisers are not compiled, and training takes longer: no headers") == 1
    report = json.loads(Path("runs/tiny/report.json").read_text())
    assert [stage["arithmetic"] for stage in report["stages"]] == ["bfloat16", "bfloat16"]
    assert "not compiled" not in coc("compress", "recipe.yaml").stderr


def test_keys_that_would_do_nothing_are_faults(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("recipe.yaml").write_text(AUTO)
    unasked = ("--set", "chain.0.quantize.teacher=none", "--set", "chain.0.quantize.teacher_views=2")
    said = coc("plan", "recipe.yaml", *unasked, code=2).stderr
    assert "teacher_views: there is no teacher to ask; leave it out, or name one" in said
    mixed = ("--set", "data.augment.mixup=0.2", "--set", "chain.0.quantize.teacher_views=2")
    said = coc("plan", "recipe.yaml", *mixed, code=2).stderr
    assert "teacher_views: needs images that are not mixed with others; leave data.augment.mixup out" in said
