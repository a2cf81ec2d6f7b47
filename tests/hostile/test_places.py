"""Where coc writes: below what the user named, through the user's links, and through nobody else's."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from command_line import coc
from tiny import TINY_RECIPE

Write = Callable[[str], Path]
INSIDE = (".lock", "log.jsonl", "stages", "report.json", "model.safetensors", "recipe.yaml", "stages/00-baseline")
RUN = Path("runs/tiny")


def content_of(folder: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def moved_out(place: Path) -> Path:
    """Move what is at a place out of the run, or make it there, and leave a link."""
    outside = Path("outside")
    outside.mkdir()
    if place.exists():
        shutil.move(place, outside / place.name)
    else:
        (outside / place.name).write_text("kept")
    place.symlink_to((outside / place.name).absolute())
    return outside


@pytest.mark.parametrize("name", INSIDE)
@pytest.mark.parametrize("command", ["compress", "report", "predict-exit"])
def test_a_link_inside_a_run_directory_is_refused_and_nothing_outside_is_written(
    workspace: Path, name: str, command: str
) -> None:
    outside = moved_out(RUN / name)
    before = content_of(outside)
    said = coc(command, workspace / "recipe.yaml" if command == "compress" else RUN, code=2)
    assert said.stderr == (
        f"{RUN / name}: is a link, which coc does not follow inside a run; remove it or put a copy there\n"
    )
    assert content_of(outside) == before


def test_a_lock_that_is_there_is_never_emptied(workspace: Path) -> None:
    (RUN / ".lock").write_text("kept")
    coc("compress", workspace / "recipe.yaml")
    assert (RUN / ".lock").read_text() == "kept"


@pytest.mark.parametrize("name", ["model.safetensors", "result.json", ""])
def test_a_link_inside_a_cache_entry_is_refused(workspace: Path, name: str) -> None:
    entry = next(path for path in sorted(Path("runs/.cache").iterdir()) if (path / "result.json").is_file())
    place = entry / name if name else entry
    outside = moved_out(place)
    before = content_of(outside)
    said = coc("compress", workspace / "recipe.yaml", code=2).stderr
    assert said.splitlines()[-1].startswith(f"{place}: is a link, which coc does not follow")
    assert content_of(outside) == before


def test_links_that_the_user_placed_are_followed(recipe: Write, tmp_path_factory: pytest.TempPathFactory) -> None:
    """Above the run directory and at it, runs/ and runs/.cache."""
    path, disk = recipe(TINY_RECIPE.replace("epochs: 2", "epochs: 1")), tmp_path_factory.mktemp("disk")
    for name in ("runs", "cache", "tiny"):
        (disk / name).mkdir()
    Path("runs").symlink_to(disk / "runs")
    Path("runs/.cache").symlink_to(disk / "cache")
    Path("runs/tiny").symlink_to(disk / "tiny")
    coc("compress", path)
    assert (disk / "tiny/report.json").is_file()
    assert any((disk / "cache").iterdir())
    coc("report", "runs/tiny")


@pytest.mark.parametrize("name", ["log.jsonl", ".lock", "report.json"])
def test_a_pipe_inside_a_run_directory_is_refused_at_once(workspace: Path, name: str) -> None:
    (RUN / name).unlink()
    os.mkfifo(RUN / name)
    said = coc("compress", workspace / "recipe.yaml", code=2).stderr
    assert said == f"{RUN / name}: is a pipe or a device, no file; remove it\n"


@pytest.mark.full
@pytest.mark.usefixtures("few_steps")
def test_only_the_recipe_that_the_user_names_chooses_a_place(
    few_exits_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    shutil.copytree(few_exits_run, RUN)
    recipe = RUN / "recipe.yaml"
    recipe.write_text(recipe.read_text() + "predict_exit: {profile: cortex-m7, out: elsewhere}\n")
    coc("predict-exit", RUN)
    assert not Path("elsewhere").exists()
    assert (RUN / "predict-exit/cortex-m7/predict-exit.json").is_file()
    coc("predict-exit", RUN, "--data", recipe)
    assert Path("elsewhere/predict-exit.json").is_file()


def test_what_interrupted_writes_left_is_swept(workspace: Path) -> None:
    entry = next(path for path in sorted(Path("runs/.cache").iterdir()) if (path / "result.json").is_file())
    gone = 2**22 + 1  # larger than any process's number
    left = [
        RUN / f".report.json.{gone}",
        RUN / f"stages/00-baseline/.model.safetensors.{gone}",
        entry / f".x.pt.{gone}",
    ]
    kept = [RUN / f".report.json.{os.getppid()}", RUN / f".mine.{gone}", RUN / ".report.json.bak"]
    for path in [*left, *kept]:
        path.write_bytes(b"half")
    coc("compress", workspace / "recipe.yaml")
    assert [path for path in left if path.exists()] == []
    assert all(path.exists() for path in kept)
