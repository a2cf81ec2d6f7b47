"""Data that are declared: planned for while they are not there, and checked once they are."""

from __future__ import annotations

from pathlib import Path

import pytest
from command_line import coc
from PIL import Image

from coc_cli.data import sources
from coc_cli.data.settings import DataSettings

RECIPE = """\
name: r
device: cpu
data:
  source: folder:pets
  size: 8
  channels: 1
  classes: 3
model: {arch: cifar:resnet20, depth: 8, width: 2, train: {epochs: 1}}
chain:
  - early_exit: {exits: 1, epochs: 1, max_drop: 0.00001}
"""


@pytest.fixture(autouse=True)
def _own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("r.yaml").write_text(RECIPE)


def pets(*names: str) -> None:
    for name in names:
        Path("pets", name).mkdir(parents=True)
        for index in range(20):
            Image.new("L", (8, 8), 9 * index).save(Path("pets", name, f"{index}.png"))


def plan(*overrides: str, code: int = 0) -> str:
    arguments = [part for override in overrides for part in ("--set", override)]
    ended = coc("plan", "r.yaml", *arguments, code=code)
    return ended.stderr if code else ended.stdout


NOTE = "0 baseline: pets is not there, so images, labels, split and numbers of images are not checked"


def test_what_is_not_there_is_planned_for_and_said_so() -> None:
    lines = plan().splitlines()
    assert NOTE in lines
    assert "1 early_exit" in " ".join(lines)
    assert not Path("runs").exists()
    assert f"{NOTE}; they are taken to be in colour, as data.channels does not say" in plan("data.channels=null")


def test_the_run_needs_the_data() -> None:
    ended = coc("compress", "r.yaml", code=2)
    assert ended.stderr == "r.yaml:4: data.source: no such folder or .zip file 'pets'\n"


@pytest.mark.parametrize(
    ("overrides", "needs"),
    [
        (("data.size=null",), "'size'"),
        (("data.classes=null",), "'classes'"),
        (("data.size=null", "data.classes=null"), "'size' and 'classes'"),
    ],
)
def test_what_is_not_declared_is_said_to_be_missing(overrides: tuple[str, ...], needs: str) -> None:
    assert plan(*overrides, code=2) == (
        f"r.yaml:4: data.source: no such folder or .zip file 'pets'; to plan without it, give {needs}\n"
    )


def test_a_file_of_another_kind_is_not_absent() -> None:
    Path("pets").touch()
    assert plan(code=2) == "r.yaml:4: data.source: 'pets' is neither a folder nor a .zip file\n"


@pytest.mark.parametrize(
    ("classes", "message"),
    [
        ("4", "declares 4, but 'pets' has 3: ant, bee, cat"),
        ("[ant, cat, bee]", "'pets' has 'bee' where 'cat' is declared; its order is ant, bee, cat"),
        ("[ant, bee]", "declares 2, but 'pets' has 3: ant, bee, cat"),
    ],
)
def test_what_is_there_is_checked(classes: str, message: str) -> None:
    pets("ant", "bee", "cat")
    Path("r.yaml").write_text(RECIPE.replace("classes: 3", f"classes: {classes}"))
    assert plan("chain.0.early_exit.max_drop=0.5", code=2) == f"r.yaml:7: data.classes: {message}\n"
    assert coc("compress", "r.yaml", code=2).stderr.startswith(f"r.yaml:7: data.classes: {message}\n")


@pytest.mark.parametrize("classes", [3, ("ant", "bee", "cat")])
def test_what_is_there_as_declared_is_described_as_ever(classes: int | tuple[str, ...]) -> None:
    pets("ant", "bee", "cat")
    plain, given = (DataSettings(source="folder:pets", classes=each) for each in (None, classes))
    assert sources.describe(given) == sources.describe(plain)
    assert sources.declared(given) is None


def test_a_table_that_is_not_there_has_its_targets_as_labels() -> None:
    info = sources.declared(DataSettings(source="csv:no.csv", targets=("x", "y"), size=(4, 6)))
    assert info is not None
    assert (info.shape, info.labels, info.task) == ((3, 4, 6), ("x", "y"), "regression")
    settings = DataSettings(source="csv:no.csv", label="kind", size=4, classes=("b", "a"))
    assert list(sources.faults(settings, may_be_absent=True)) == []
    assert list(sources.faults(settings)) == [(("source",), "no such file 'no.csv'")]
    info = sources.declared(settings)
    assert info is not None
    assert (info.labels, info.task) == (("b", "a"), "classification")
