"""Paths in a recipe: found from its folder, then from where coc runs, and from a run's own recipe wherever coc runs."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch
import yaml
from command_line import coc
from pictures import tree, unpack

from coc_cli.chain.cache import lineages
from coc_cli.chain.plan import make_plan
from coc_cli.errors import UserError
from coc_cli.files.places import from_folder, from_here
from coc_cli.nets.arithmetic import FLOAT32
from coc_cli.recipe.reading import RecipeFile, read

CODE = """\
from torch import nn

def small(outputs, channels):
    return nn.Sequential(nn.Conv2d(channels, 4, 3, padding=1), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(),
                         nn.Linear(4, outputs))
"""
RECIPE = """\
name: placed
device: cpu
data: {source: "folder:set"}
model: {arch: "file:nets/own.py:small", train: {epochs: 1}}
chain:
  - distill: {student: {arch: "file:nets/own.py:small"}, epochs: 1}
"""


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A project with a recipe, its images and its code in one folder; coc runs above it."""
    (tmp_path / "work").mkdir()
    unpack(tree({"a": 12, "b": 12}), tmp_path / "work/project/set")
    (tmp_path / "work/project/nets").mkdir()
    (tmp_path / "work/project/nets/own.py").write_text(CODE)
    (tmp_path / "work/project/r.yaml").write_text(RECIPE)
    monkeypatch.chdir(tmp_path / "work")


def keys(path: Path, *overrides: str) -> list[str]:
    """Return the keys of the stages of a recipe."""
    file = read(path, overrides)
    plan = make_plan(file)
    with torch.random.fork_rng():
        return [lineage[-1].key for lineage in lineages(file, plan, file.images(), "cpu", [FLOAT32] * len(plan.steps))]


def names(file: RecipeFile) -> tuple[str, str | None, list[str]]:
    return file.recipe.data.source, file.recipe.model.arch, file.code_files


def test_the_recipes_own_folder_comes_first(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    found = "folder:project/set", "file:project/nets/own.py:small", ["project/nets/own.py"]
    assert names(read(Path("project/r.yaml"))) == found
    unpack(tree({"x": 12, "y": 12}), Path("set"))
    assert names(read(Path("project/r.yaml"))) == found
    assert read(Path("project/r.yaml"), ("data.source=folder:set",)).info.labels == ("x", "y"), "those of --set do not"
    assert read(Path("project/r.yaml"), ("data.source=folder:../work/project/set",)).info.labels == ("a", "b")
    Path("project/set").rename("elsewhere")
    assert read(Path("project/r.yaml")).info.labels == ("x", "y")
    monkeypatch.chdir(tmp_path / "work/project")
    Path("../elsewhere").rename("set")
    assert names(read(Path("r.yaml"))) == ("folder:set", "file:nets/own.py:small", ["nets/own.py"])
    monkeypatch.chdir("/")
    assert names(read(tmp_path / "work/project/r.yaml"))[0] == f"folder:{tmp_path.relative_to('/')}/work/project/set"


def test_keys_do_not_depend_on_how_a_path_is_written() -> None:
    path = Path("project/r.yaml")
    expected = keys(path)
    root = Path.cwd()
    for written in ("../project/", f"{root}/project/", "./"):
        text = RECIPE.replace("folder:set", f"folder:{written}set").replace("file:nets", f"file:{written}nets")
        path.write_text(text)
        assert keys(path) == expected, written
    assert len(list(Path("runs/.cache/data").glob("*/images.npy"))) == 1, "they are decoded once"


def test_a_file_that_is_at_neither_place() -> None:
    Path("project/r.yaml").write_text(RECIPE.replace("folder:set", "folder:gone"))
    looked = f"(looked for in 'project', where the recipe is, and in '{Path.cwd()}')"
    with pytest.raises(UserError) as caught:
        read(Path("project/r.yaml"))
    assert str(caught.value) == f"project/r.yaml:3: data.source: no such folder or .zip file 'gone' {looked}"
    text = "{checkpoint: w.pt, arch: 'cifar:resnet20'}\npredict_exit: {profile: mine.yaml}\n"
    Path("project/r.yaml").write_text(RECIPE.replace(RECIPE.splitlines()[3][len("model: ") :], text))
    with pytest.raises(UserError) as caught:
        read(Path("project/r.yaml"))
    lines = str(caught.value).splitlines()
    assert lines[0] == f"project/r.yaml:4: model.checkpoint: no such file 'w.pt' {looked}"
    assert lines[1].startswith("project/r.yaml:5: predict_exit.profile: no such profile or file 'mine.yaml'; ")
    assert lines[1].endswith(looked)
    Path("project/r.yaml").write_text(RECIPE.replace("file:nets/own.py", "file:nets/gone.py", 1))
    with pytest.raises(UserError) as caught:
        make_plan(read(Path("project/r.yaml")))
    place = "project/r.yaml:4: model.arch: no such file 'nets/gone.py'"
    assert str(caught.value) == f"{place} {looked}"


def test_every_kind_of_path_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    from coc_cli.dvfs.profile import files

    shipped = (files("coc_cli.dvfs") / "profiles" / "cortex-m7.yaml").read_text("utf-8")
    Path("project/device.yaml").write_text(shipped)
    Path("project/w.pt").write_bytes(b"PK")
    Path("project/root").mkdir()
    text = "name: all\ndata: {source: 'torchvision:MNIST', root: root}\nmodel: {arch: 'cifar:resnet20', checkpoint: w.pt}\n"
    text += "chain:\n  - early_exit: {every: block}\npredict_exit: {profile: device.yaml, out: here}\n"
    Path("project/r.yaml").write_text(text)
    recipe = read(Path("project/r.yaml")).recipe
    assert recipe.data.root == "project/root"
    assert recipe.model.checkpoint == "project/w.pt"
    assert recipe.predict_exit is not None
    assert (recipe.predict_exit.profile, recipe.predict_exit.out) == ("project/device.yaml", "here")
    Path("project/r.yaml").write_text(text.replace("checkpoint: w.pt", "checkpoint: {path: w.pt}"))
    weights = read(Path("project/r.yaml")).recipe.model.weights
    assert weights is not None
    assert weights.path == "project/w.pt"
    monkeypatch.chdir("project")
    Path("root").rmdir()
    assert read(Path("r.yaml")).recipe.data.root == "root", "where it will be downloaded to"


def test_a_runs_recipe_finds_all_from_wherever_coc_runs(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    coc("compress", "project/r.yaml")
    kept = Path("runs/placed/recipe.yaml").absolute()
    content = yaml.safe_load(kept.read_text())
    assert content["data"]["source"] == "folder:../../project/set"
    assert content["model"]["arch"] == "file:../../project/nets/own.py:small"
    assert content["chain"][0]["distill"]["student"]["arch"] == content["model"]["arch"]
    expected = keys(Path("project/r.yaml"))
    assert keys(Path("runs/placed/recipe.yaml")) == expected
    before = kept.read_bytes()
    assert "from the cache" in coc("compress", "runs/placed/recipe.yaml").stderr
    assert kept.read_bytes() == before
    (tmp_path / "other").mkdir()
    for place in (tmp_path / "other", tmp_path / "work/project"):
        monkeypatch.chdir(place)
        file = read(Path(os.path.relpath(kept)))
        assert file.info.labels == ("a", "b")
        make_plan(file)


def test_paths_as_text(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "real").mkdir()
    Path("link").symlink_to(tmp_path / "real")
    assert from_here(Path("a/../b.zip")) == from_here(Path.cwd() / "b.zip") == Path("b.zip")
    assert from_here(Path()) == Path()
    assert from_here(Path("..")) == tmp_path
    assert from_here(Path("link")) == Path("link"), "the link itself"
    assert from_here(Path("link/x")) == tmp_path / "real/x"
    assert from_folder(Path("a/b"), Path("runs/x")) == Path("../../a/b")
    assert (tmp_path / "real" / from_folder(Path("project"), Path("link"))).resolve() == Path("project").resolve()
    monkeypatch.chdir(tmp_path / "real")
    assert from_here(Path("../work")) == tmp_path / "work"
