"""A run in which any file is damaged goes on to the same bits, or says in one line why it does not."""

from __future__ import annotations

import json
import random
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from command_line import coc
from sampling import seed, tiered
from tiny import TINIEST_RECIPE, TINIEST_STAGES, results

from coc_cli.chain.progress import Reporter
from coc_cli.files.atomic import locked
from coc_cli.learning.training import Epoch

RUN, CACHE = Path("runs/tiny"), Path("runs/.cache")
STAGES = TINIEST_STAGES
TOP = (".lock", "log.jsonl", "recipe.yaml")
RESULTS = ("model.safetensors", "report.html", "report.json")
STAGE = ("model.safetensors", "result.json")
STATES = ("training.0.pt", "training.1.pt")


def flipped(place: float) -> Callable[[Path], object]:
    def flip(path: Path) -> None:
        content = bytearray(path.read_bytes() or b"\0")
        content[int(place * (len(content) - 1))] ^= 1 << random.Random(str(path)).randrange(8)
        path.write_bytes(content)

    return flip


def made_a_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()
    (path / "mine.txt").write_text("a user's")


def made_a_link(path: Path) -> None:
    """Put a link in a file's place, to the same content elsewhere."""
    path.rename(Path("elsewhere"))
    path.symlink_to(Path("elsewhere").absolute())


PLACES = 19  # behind the first, at which a bit is flipped: 20 in all
DAMAGES: dict[str, Callable[[Path], object]] = {
    "cut": lambda path: path.write_bytes(path.read_bytes()[: path.stat().st_size // 2]),
    "emptied": lambda path: path.write_bytes(b""),
    **{f"bit at {place} of {PLACES}": flipped(place / PLACES) for place in range(PLACES + 1)},
    "a link": made_a_link,
    "deleted": Path.unlink,
    "a folder": made_a_folder,
}
# What is damaged: of the run, of its stages while there is a cache or is none, of the cache with or without the stages,
# a lock there, and a state of training
FINISHED = (
    *(f"run {name}" for name in (*TOP, *RESULTS)),
    *(f"{kind} {stage} {name}" for kind in ("stage", "only") for stage in STAGES for name in STAGE),
    *(f"{kind} {stage} {name}" for kind in ("cache", "alone") for stage in STAGES for name in STAGE),
    *(f"lock {stage} .lock" for stage in STAGES),
)
HALF = (
    *(f"run {name}" for name in TOP),
    *(f"{kind} {STAGES[0]} {name}" for kind in ("stage", "only", "cache", "alone") for name in STAGE),
    *(f"state {STAGES[1]} {name}" for name in STATES),
    *(f"lock {stage} .lock" for stage in STAGES),
)
QUICK = (
    ("finished", "only stages/01-quantize model.safetensors", "bit at 10 of 19"),
    ("finished", "run report.json", "a folder"),
    ("half", "state stages/01-quantize training.1.pt", "a folder"),
    ("half", "state stages/01-quantize training.1.pt", "bit at 10 of 19"),
)
CASES = [("finished", what, how) for what in FINISHED for how in DAMAGES]
CASES += [("half", what, how) for what in HALF for how in DAMAGES]


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A finished run, and one that was stopped behind the second of three epochs; both to be copied."""
    made = {name: tmp_path_factory.mktemp(name) for name in ("finished", "half")}

    def stopped(self: Reporter, epoch: Epoch) -> None:
        if self.index == 1 and epoch.epoch == 2:
            raise KeyboardInterrupt

    for name, folder in made.items():
        (folder / "recipe.yaml").write_text(TINIEST_RECIPE)
        with pytest.MonkeyPatch.context() as patch:
            patch.chdir(folder)
            if name == "half":
                patch.setattr(Reporter, "epoch", stopped)
            coc("compress", "recipe.yaml", code=130 if name == "half" else 0)
    return made


def entry(stage: str) -> Path:
    """Return the stage's folder in the cache."""
    lines = [json.loads(line) for line in (RUN / "log.jsonl").read_text().splitlines()]
    begun = {line["index"]: line["key"] for line in lines if line["event"] == "begin"}
    return CACHE / str(begun[STAGES.index(stage)])


def place(what: str) -> Path:
    """Return the file that a case damages, once what would serve instead is gone."""
    kind, *stage, name = what.split()
    if kind == "run":
        return RUN / name
    folder = entry(stage[0])
    if kind == "lock":
        return folder.with_suffix(name)
    if kind == "only":
        shutil.rmtree(CACHE)
    if kind == "alone":
        shutil.rmtree(RUN / "stages")
    return (RUN / stage[0] if kind in ("stage", "only") else folder) / name


@pytest.mark.parametrize("case", tiered(CASES, quick=QUICK, full=35), ids="-".join)
def test_a_damaged_file(
    case: tuple[str, str, str], runs: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    state, what, how = case
    folder = tmp_path / "here"
    shutil.copytree(runs[state], folder)
    monkeypatch.chdir(folder)
    path = place(what)
    DAMAGES[how](path)
    is_refused = how == "a folder" and RUN in path.parents
    elsewhere = path.read_bytes() if how == "a link" else b""
    ended = coc("compress", "recipe.yaml", code=None if how == "a link" else 2 if is_refused else 0)
    assert ended.code in (0, 2)
    if ended.code == 2 and how == "a link":
        assert ended.stderr.splitlines()[-1].startswith(f"{path}: ")
        path.unlink()
        coc("compress", "recipe.yaml")
    elif is_refused:
        assert ended.stderr == f"{path}: is a folder; move it away, or choose another run directory with --out\n"
        assert (path / "mine.txt").read_text() == "a user's"
        shutil.rmtree(path)
        coc("compress", "recipe.yaml")
    assert results(RUN) == results(runs["finished"] / RUN)
    assert how != "a link" or Path("elsewhere").read_bytes() == elsewhere
    with locked(RUN / ".lock", wait=False):
        pass


@pytest.mark.full
@pytest.mark.parametrize("number", range(6))
def test_many_damaged_files(
    number: int, runs: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dice = random.Random(seed() + number)
    shutil.copytree(runs[dice.choice(["finished", "half"])], tmp_path / "here")
    monkeypatch.chdir(tmp_path / "here")
    for path in dice.sample(sorted(path for path in Path("runs").rglob("*") if path.is_file()), 6):
        DAMAGES[dice.choice([how for how in DAMAGES if how not in ("a folder", "a link")])](path)
    coc("compress", "recipe.yaml")
    assert results(RUN) == results(runs["finished"] / RUN)


@pytest.mark.full
@pytest.mark.parametrize("name", ["stages", *STAGES, "cache"])
def test_a_file_where_a_folder_is_to_be(
    name: str, runs: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(runs["finished"], tmp_path / "here")
    monkeypatch.chdir(tmp_path / "here")
    path = entry(STAGES[1]) if name == "cache" else RUN / name
    shutil.rmtree(path)
    path.write_text("a user's")
    if name == "cache":
        coc("compress", "recipe.yaml")
        assert results(RUN) == results(runs["finished"] / RUN)
    else:
        refused = f"{path}: is a file; move it away, or choose another run directory with --out\n"
        assert coc("compress", "recipe.yaml", code=2).stderr == refused
        assert path.read_text() == "a user's"
