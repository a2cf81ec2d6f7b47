"""`coc cache`: what is kept, who needs it, and that nothing else goes."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from contextlib import ExitStack
from pathlib import Path
from threading import Timer

import pytest
from command_line import Outcome, coc

from coc_cli.chain import cache_entries
from coc_cli.chain.cache_entries import list_entries, to_remove
from coc_cli.errors import UserError
from coc_cli.files.atomic import locked

CACHE = Path("runs/.cache")
KEYS = {name: f"{name:0<32}" for name in "abcd"}


def entry(path: Path, *, size: int, days: float, name: str = "model.safetensors") -> Path:
    path.mkdir(parents=True)
    (path / name).write_bytes(b"x" * size)
    then = time.time() - days * 86_400
    os.utime(path, (then, then))
    return path


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Four entries: an unfinished stage that a run needs, two stages that none needs, and images."""
    monkeypatch.chdir(tmp_path)
    entry(CACHE / KEYS["a"], size=1000, days=90, name="training.0.pt")
    for name, days in (("b", 40.5), ("c", 10.5)):
        path = entry(CACHE / KEYS[name], size=1900, days=days)
        (path / "result.json").write_bytes(b"x" * 100)
        os.utime(path, (time.time() - days * 86_400,) * 2)
    entry(CACHE / "data" / KEYS["d"], size=4000, days=20.5, name="images.npy")
    Path("runs/one/two").mkdir(parents=True)
    log = [{"event": "begin", "key": KEYS["b"]}, {"event": "begin", "key": KEYS["a"]}]
    Path("runs/one/two/log.jsonl").write_text("\n".join(map(json.dumps, log)) + '\n{"event": "begin"')
    return CACHE


def names(keep_days: float | None, max_bytes: str | None) -> str:
    return "".join(one.path.name[0] for one in to_remove(list_entries(), keep_days, max_bytes))


@pytest.mark.usefixtures("cache")
def test_what_goes() -> None:
    assert [(one.path.name[0], one.bytes, *map(str, one.runs)) for one in list_entries()] == [
        ("c", 2000),
        ("d", 4000),
        ("b", 2000),
        ("a", 1000, "runs/one/two"),
    ]
    assert names(None, None) == ""
    assert names(30, None) == "ba"
    assert names(None, "7 kB") == "b"
    assert names(None, "6.9kB") == "bd"
    assert names(None, "2kB") == "bdc"
    assert names(None, "0") == "bdca", "what a run needs goes last"
    assert names(30, "4KB") == "bad"
    assert names(0, "1TB") == "bdca"


@pytest.mark.usefixtures("cache")
def test_it_is_only_said_until_it_is_asked_for() -> None:
    before = sorted(CACHE.rglob("*"))
    shown = coc("cache").stdout
    assert "runs/.cache: 4 folders, 9kB" in shown
    assert "remove" not in shown
    rows = [[cell.strip() for cell in line.strip("│").split("│")] for line in shown.splitlines() if line[:1] == "│"]
    assert rows == [
        ["decoded images", "1", "4kB", "20 days ago"],
        ["runs/one/two: training states of an unfinished stage", "1", "1kB", "90 days ago"],
        ["no run below runs/", "2", "4kB", "10 days ago"],
    ]
    said = coc("cache", "--keep-days", "30").stdout.splitlines()[-3:]
    assert said == [
        f"would remove runs/.cache/{KEYS['b']}  2kB, 40 days ago, no run below runs/",
        f"would remove runs/.cache/{KEYS['a']}  1kB, 90 days ago, runs/one/two: training states of an unfinished stage",
        "would remove 2 folders, 3kB; --delete removes them",
    ]
    assert sorted(CACHE.rglob("*")) == before


def test_answers_of_a_teacher_are_named_and_go(cache: Path) -> None:
    path = entry(cache / "answers" / KEYS["c"], size=500, days=99, name="0.answers")
    assert ["answers of a teacher", "1", "500B", "99 days ago"] in [
        [cell.strip() for cell in line.strip("│").split("│")] for line in coc("cache").stdout.splitlines()
    ]
    coc("cache", "--keep-days", "95", "--delete")
    assert not path.exists()


def test_what_a_run_holds_stays(cache: Path) -> None:
    with locked(cache / f"{KEYS['b']}.lock", wait=False), locked(cache / "data" / f"{KEYS['d']}.lock", wait=False):
        said = coc("cache", "--keep-days", "0", "--delete").stdout
    assert said.count("a run is at work with it; it stays") == 2
    assert said.endswith("removed 2 folders, 3kB\n")
    assert [one.path.name[0] for one in list_entries()] == ["d", "b"]


def test_links_and_what_is_not_coc_s_are_left_alone(cache: Path) -> None:
    mine = entry(Path("mine"), size=10, days=99)
    (cache / ("e" * 32)).symlink_to(mine.absolute())
    (cache / KEYS["b"] / "within").symlink_to(mine.absolute())
    entry(cache / "notes", size=10, days=99)
    (cache / ("f" * 32)).write_text("a file")
    entry(cache / "data" / f"{KEYS['c']}.part", size=10, days=99)
    coc("cache", "--keep-days", "0", "--delete")
    assert (mine / "model.safetensors").exists()
    left = sorted(path.name[0] for path in cache.iterdir() if path.suffix != ".lock")
    assert left == ["d", "e", "f", "n"]
    assert [path.name for path in (cache / "data").glob("*") if path.is_dir()] == []
    shutil.move(cache, "elsewhere")
    cache.symlink_to(Path("elsewhere").absolute())
    refused = "runs/.cache: is a link, which coc cache does not follow; remove by hand what it leads to\n"
    assert coc("cache", code=2).stderr == refused


@pytest.mark.usefixtures("cache")
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--delete"], "--delete: does not say what; add --keep-days N or --max-bytes SIZE (--keep-days 0: all)"),
        (["--max-bytes", "2 cows"], "--max-bytes: '2 cows' is no size; write it like 500MB or 2GB"),
        (["--keep-days", "-1"], "--keep-days: is -1; give 0 or more"),
        (["--keep-days", "nan"], "--keep-days: is nan; give 0 or more"),
    ],
)
def test_what_cannot_be_meant(arguments: list[str], message: str) -> None:
    assert coc("cache", *arguments, code=2).stderr == message + "\n"
    assert len(list_entries()) == 4


def test_what_cannot_be_removed(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_: Path) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(cache_entries.shutil, "rmtree", refuse)
    with pytest.raises(UserError, match="cannot be removed: Permission denied; remove it by hand"):
        cache_entries.remove(list_entries()[0])
    assert cache.exists()


def test_no_cache_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert "runs/.cache: 0 folders, 0B" in coc("cache", "--keep-days", "0", "--delete").stdout
    assert list(tmp_path.iterdir()) == []


def from_where(said: Outcome) -> list[int]:
    return [said.stderr.count(text) for text in ("from the cache", "from this run", "trained in")]


@pytest.mark.full
@pytest.mark.usefixtures("workspace")
def test_a_run_serves_where_the_cache_is_gone() -> None:
    result = Path("runs/tiny/model.safetensors")
    before = result.read_bytes()
    assert "runs/tiny" in coc("cache").stdout
    shutil.copytree("runs/tiny/stages/01-distill", "elsewhere")
    assert "removed 3 folders" in coc("cache", "--max-bytes", "0", "--delete").stdout
    assert from_where(coc("compress", "recipe.yaml")) == [0, 3, 0]
    assert from_where(coc("compress", "recipe.yaml", "--out", "runs/again")) == [3, 0, 0]
    shutil.rmtree(CACHE)
    shutil.rmtree("runs/tiny/stages/02-quantize")  # another stage's result, whole, in a stage's place
    shutil.copytree("elsewhere", "runs/tiny/stages/02-quantize")
    assert from_where(coc("compress", "recipe.yaml")) == [0, 2, 1]
    assert result.read_bytes() == before


@pytest.mark.full
@pytest.mark.usefixtures("workspace")
def test_of_two_runs_that_need_a_stage_the_second_waits() -> None:
    first = next(path for path in CACHE.glob("*.lock") if len(path.stem) == 32)  # of a stage
    with ExitStack() as other:
        other.enter_context(locked(first, wait=False))
        Timer(1.0, other.close).start()
        said = coc("compress", "recipe.yaml")
    assert said.stderr.count("another run is making this stage; waits for it") == 1
    assert from_where(said) == [3, 0, 0]


@pytest.mark.full
@pytest.mark.parametrize("arguments", [["cache", "--help"], ["cache", "--keep-days", "30"]])
def test_it_answers_at_once_without_torch(arguments: list[str], cache: Path) -> None:
    code = (
        f"import sys, time; t = time.monotonic(); sys.argv = ['coc', *{arguments}]\n"
        "from coc_cli.cli import main\n"
        "try: main()\n"
        "except SystemExit as end: print(end.code, 'torch' in sys.modules, time.monotonic() - t)"
    )
    done = [subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True) for _ in range(3)]
    assert {tuple(one.stdout.split()[-3:-1]) for one in done} == {("0", "False")}
    assert min(float(one.stdout.split()[-1]) for one in done) < 0.5
    assert cache.exists()
