"""Recipes, tables and files of strangers: none takes more time or memory than its budget, none makes coc wait."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from children import child
from command_line import coc
from fake_runs import BASELINE, report, run
from tiny import TINY_RECIPE

from coc_cli.errors import Fault, UserError
from coc_cli.files import budget
from coc_cli.files.yaml_source import YamlSource
from coc_cli.report.read.run import read_runs

Write = Callable[[str], Path]


def bomb(levels: int, of: str = "[{}]") -> str:
    """Return a text in which each level holds the one before nine times."""
    inner = [f"l{level}: &l{level} " + of.format(", ".join([f"*l{level - 1}"] * 9)) for level in range(1, levels)]
    return "\n".join(["l0: &l0 [x, x, x, x, x, x, x, x, x]", *inner])


@pytest.mark.parametrize("of", ["[{}]", "{{a: [{}]}}"])
def test_an_alias_bomb_is_counted_before_it_is_built(recipe: Write, of: str) -> None:
    path = recipe(bomb(9, of))
    assert path.stat().st_size < 700
    ended = child("plan", path, memory=1500, seconds=20)
    assert ended.code == 2
    assert len(ended.lines) == 1
    assert "holds more than 20,000 values, each alias counted as what it stands for" in ended.stderr
    assert ended.peak < 120


def test_few_aliases_are_what_they_stand_for() -> None:
    source = YamlSource("r.yaml", "a: &a [1, {b: 2}]\nc: [*a, *a]")
    assert source.content == {"a": [1, {"b": 2}], "c": [[1, {"b": 2}], [1, {"b": 2}]]}


@pytest.mark.parametrize("text", ["a: &a [*a]", "a: &a {b: *a}", "[" * 5000, "{a: " * 5000])
def test_what_holds_itself_or_is_too_deep_is_one_line(text: str) -> None:
    with pytest.raises(UserError, match=r"^r.yaml: is nested too deeply, or an alias holds itself$"):
        YamlSource("r.yaml", text)


@pytest.mark.full
def test_the_largest_document_passes_and_one_value_more_does_not() -> None:
    room = budget.YAML_NODES - 1  # the list itself is one
    assert len(YamlSource("r.yaml", "- 1\n" * room).content) == room
    with pytest.raises(UserError, match=r"^r.yaml:1: holds more than 20,000 values"):
        YamlSource("r.yaml", "- 1\n" * (room + 1))


def test_a_recipe_over_its_bytes_is_not_read(recipe: Write) -> None:
    path = recipe(TINY_RECIPE + "#" * budget.RECIPE_BYTES)
    said = coc("plan", path, code=2).stderr
    assert said == f"recipe.yaml: cannot be read: has {path.stat().st_size:,} bytes, at most 1,000,000 are read\n"


@pytest.mark.parametrize("tag", ["!!python/object/apply:os.system", "!custom", "!!binary", "!!set", "!!timestamp"])
def test_unknown_tags_are_faults(recipe: Write, tag: str) -> None:
    said = coc("plan", recipe(TINY_RECIPE.replace("seed: 3", f"seed: {tag} [3]")), code=2).stderr
    assert said.startswith("recipe.yaml:2: seed: has the tag '")
    assert "which means nothing here; leave it out" in said


def test_a_thousand_faults_are_twenty_and_a_number(recipe: Write) -> None:
    said = coc("plan", recipe(TINY_RECIPE + "\n".join(f"key{n}: 1" for n in range(1000))), code=2).stderr
    assert len(said.splitlines()) == 21
    assert said.splitlines()[-1] == "and 980 more"
    assert str(UserError([Fault("a", "b")] * 20)).count("\n") == 19


@pytest.mark.full
@pytest.mark.parametrize("kind", ["pipe", "device", "link to a pipe", "folder"])
@pytest.mark.parametrize("command", ["plan", "inspect", "profiles", "predict-exit"])
def test_what_is_no_regular_file_is_refused_at_once(tmp_path: Path, kind: str, command: str) -> None:
    path = _placed(tmp_path / "it", kind)
    ended = child(command, path, seconds=20)
    assert ended.code == 2
    assert len(ended.lines) == 1
    assert str(path) in ended.stderr


def _placed(path: Path, kind: str) -> Path:
    if kind == "folder":
        path.mkdir()
    elif kind == "device":
        path.symlink_to("/dev/zero")
    else:
        os.mkfifo(path.with_suffix(".pipe") if "link" in kind else path)
        if "link" in kind:
            path.symlink_to(path.with_suffix(".pipe"))
    return path


@pytest.mark.full
@pytest.mark.parametrize("ending", ["pt", "safetensors"])
@pytest.mark.parametrize("kind", ["pipe", "device", "link to a pipe"])
def test_a_checkpoint_that_is_no_file_is_a_fault_of_its_line(recipe: Write, ending: str, kind: str) -> None:
    path = recipe(TINY_RECIPE.replace("train: {epochs: 2, batch: 128}", f"checkpoint: it.{ending}"))
    _placed(Path(f"it.{ending}"), kind)
    ended = child("plan", path, seconds=60)
    assert ended.code == 2
    assert len(ended.lines) == 1
    assert f"it.{ending}" in ended.stderr


def test_a_table_is_bounded_before_its_rows_are_built(recipe: Write) -> None:
    """1.2 MB that would be 100 million fields."""
    path = recipe(TINY_RECIPE.replace("source: digits", "source: 'csv:it.csv', label: label"))
    Path("it.csv").write_text(",".join(f"c{n}" for n in range(2000)) + "\n" + "x\n" * 50_000)
    ended = child("plan", path, memory=3000, seconds=30)
    assert ended.code == 2
    assert "has more than 10,000 rows of 2,000 columns, which is too much" in ended.stderr
    assert ended.peak < 250


def test_of_wrong_rows_the_first_are_named_and_all_counted(recipe: Write) -> None:
    path = recipe(TINY_RECIPE.replace("source: digits", "source: 'csv:it.csv', label: label"))
    Path("it.csv").write_text("image,label\n" + ("x" * 5000 + ".png,a\n") * 3000)
    said = coc("plan", path, code=2).stderr
    assert "no such image in 3,000 rows: line 2 ('xxx" in said
    assert "and 2,995 more" in said
    assert len(said) < 1000


def test_a_report_shows_the_first_stages(tmp_path: Path) -> None:
    content = report("many")
    content["stages"] = [{**BASELINE, "index": index} for index in range(300)]
    [one] = read_runs([run(tmp_path / "many", content)])
    assert len(one.stages) == budget.STAGES_SHOWN
    assert "report.json has 300 stages; the first 200 are shown" in one.missing


def test_a_pipe_in_a_run_directory_is_never_waited_for(tmp_path: Path) -> None:
    folder = run(tmp_path / "odd", report("odd"))
    (folder / "recipe.yaml").unlink(missing_ok=True)
    (folder / "log.jsonl").unlink(missing_ok=True)
    (folder / "report.json").unlink()
    for name in ("recipe.yaml", "report.json", "log.jsonl"):
        os.mkfifo(folder / name)
    ended = child("report", folder, seconds=20)
    assert (ended.code, ended.stderr) == (2, f"{folder}/log.jsonl: is a pipe or a device, no file; remove it\n")
