"""What a hostile case is, what it is made from, and the law that every one keeps."""

from __future__ import annotations

import hashlib
import json
import os
import random
import shutil
import stat
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache, cached_property
from pathlib import Path
from typing import Any, TypeAlias

import pytest
from command_line import coc
from forked import CPU_SECONDS, MEMORY_BYTES, Ended, Server, answers_of

LONGEST_LINE = 4_000  # characters
MOST_LINES = 21  # twenty faults, and how many more there are
CODES = {  # of each verb; the others, which only read, end with 0 or 2
    "compress": (0, 1, 2, 3),
    "predict-exit": (0, 1, 2),
}
RECIPE = """\
name: tiny
seed: 3
device: cpu
data: {source: digits, limit: 64}
model: {arch: cifar:resnet20, depth: 8, width: 2, train: {epochs: 1, batch: 32}}
chain:
  - early_exit: {every: block, epochs: 1, batch: 32, max_drop: 0.02}
  - quantize: {weights: 4, activations: 4, epochs: 1, batch: 32}
"""


@dataclass(frozen=True)
class Link:
    """A link to somewhere, seen from the folder of the case."""

    target: str


@dataclass(frozen=True)
class Sparse:
    """A file of so many zero bytes that takes no room."""

    size: int


PIPE, FOLDER = "a pipe", "a folder"
Entry: TypeAlias = bytes | Link | Sparse | str
CANARY = {"secret.txt": b"kept", "inner/model.safetensors": b"\x02\0\0\0\0\0\0\0{}", "inner/report.json": b"{}"}


@dataclass(frozen=True)
class Case:
    """Files in an empty folder, and a command that is run there."""

    files: Mapping[str, Entry]
    arguments: tuple[str, ...]
    action: str = "coc"
    expected: frozenset[str] = field(default=frozenset())  # of an action that answers: what it may

    @property
    def verb(self) -> str:
        """The command's first word, or the action."""
        return self.arguments[0] if self.action == "coc" else self.action


def dice_of(group: str, number: int, by: int) -> random.Random:
    """Return what a case is drawn from."""
    return random.Random(f"{by} {group} {number}")


class Stock:
    """Real files to damage, each made when it is first asked for; a folder holds them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @cached_property
    def finished(self) -> dict[str, bytes]:
        """All files of a finished run of `RECIPE` and of its cache, by their path below the current folder."""
        return self._run("finished")

    @cached_property
    def predicted(self) -> dict[str, bytes]:
        """The same run directory, and what `coc predict-exit` leaves in it."""
        folder = self.folder / "predicted"
        _unpack({name: content for name, content in self.finished.items() if "/.cache/" not in name}, folder)
        with pytest.MonkeyPatch.context() as patch:
            patch.chdir(folder)
            patch.setattr("coc_cli.exits.predictor_fitting.STEPS", 60)
            coc("predict-exit", "runs/tiny", "--profile", "cortex-m7")
        return _files_in(folder)

    @cached_property
    def half(self) -> dict[str, bytes]:
        """A run that was stopped behind the first of two epochs of its second stage, with the states of its training."""
        from coc_cli.chain.progress import Reporter

        def stopped(self: Reporter, _: object) -> None:
            if self.index == 1:
                raise KeyboardInterrupt

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(Reporter, "epoch", stopped)
            return self._run("half", code=130, old="block, epochs: 1", new="block, epochs: 2")

    @cached_property
    def checkpoint(self) -> Path:
        """The checkpoint of that run: exits and quantisers, format 2."""
        path = self.folder / "model.safetensors"
        path.write_bytes(self.finished["runs/tiny/model.safetensors"])
        return path

    @cached_property
    def answers(self) -> str:
        """What that network answers, as the action 'answers' prints it."""
        return answers_of(self.checkpoint)

    def _run(self, name: str, *, code: int = 0, old: str = "", new: str = "") -> dict[str, bytes]:
        folder = self.folder / name
        _unpack({"recipe.yaml": RECIPE.replace(old, new).encode()}, folder)
        with pytest.MonkeyPatch.context() as patch:
            patch.chdir(folder)
            coc("compress", "recipe.yaml", code=code)
        return _files_in(folder)


def _files_in(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def _unpack(files: Mapping[str, Entry], folder: Path) -> None:
    """Write a case's files; one that cannot be named is left out."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if isinstance(content, bytes):
            path.write_bytes(content)
        elif isinstance(content, Link):
            path.symlink_to(content.target)
        elif isinstance(content, Sparse):
            with path.open("wb") as file:
                file.truncate(content.size)
        elif content == PIPE:
            os.mkfifo(path)
        else:
            path.mkdir()
            (path / "kept").touch()


def tree_of(folder: Path) -> dict[str, tuple[int, str]]:
    """Return the mode and the content of everything below a folder, by its path; of a link where it leads."""
    found = {}
    for path in sorted(folder.rglob("*")):
        status = path.lstat()
        content = str(path.readlink()) if stat.S_ISLNK(status.st_mode) else ""
        if stat.S_ISREG(status.st_mode):
            content = hashlib.sha256(path.read_bytes()).hexdigest()
        found[str(path.relative_to(folder))] = (status.st_mode, content)
    return found


def run_case(case: Case, server: Server, place: Path) -> Ended:
    """Run a case in an empty folder below a place, with the canary beside it, and hold the law."""
    shutil.rmtree(place, ignore_errors=True)
    here = place / "case"
    _unpack(CANARY, place / "canary")
    _unpack(case.files, here)
    before = tree_of(place / "canary")
    ended = server.run(here, case.arguments, case.action)
    faults = [*_faults(case, ended), *_faults_of_places(case, place, before)]
    assert not faults, f"{case.action} {' '.join(case.arguments)[:300]!r} in {here}:\n" + "\n".join(faults)
    return ended


def _names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def _faults_of_places(case: Case, place: Path, before: dict[str, tuple[int, str]]) -> list[str]:
    changed = tree_of(place / "canary") != before or _names(place) != ["canary", "case"]
    inputs = {name.split("/")[0] for name in case.files}
    outputs = {"runs", "report.html", *(["predict-exit"] if case.verb == "predict-exit" else [])}
    beside = set(_names(place / "case")) - inputs - outputs
    return ["the canary has changed"] * changed + [f"left {sorted(beside)}"] * bool(beside)


def _faults(case: Case, ended: Ended) -> list[str]:
    """Return how an ending breaks the law."""
    is_refused, text = ended.code == 2, ended.stdout + ended.stderr
    broken = {
        f"ended with {ended.code}": ended.code not in CODES.get(case.verb, (0, 2)),
        "was waited for": ended.is_late,
        "a traceback": "Traceback" in text,
        "an internal error": "coc failed" in ended.stderr,
        "nothing said": ended.code not in (0, 3) and not ended.lines,
        "too many lines": is_refused
        and case.verb not in ("compress", "predict-exit")
        and len(ended.lines) > MOST_LINES,
        "a line that steers or never ends": any(not _is_plain(line) for line in ended.lines),
        "no JSON": ended.code == 0 and "json" in case.arguments and not _is_json(ended.stdout),
        f"{ended.memory_bytes / 1e6:.0f} MB": ended.memory_bytes > MEMORY_BYTES,
        f"{ended.cpu_seconds:.1f} s": ended.cpu_seconds > CPU_SECONDS,
        "another answer": bool(case.expected) and ended.code == 0 and ended.stdout.strip() not in case.expected,
        "more than a line": bool(case.expected) and is_refused and len(ended.lines) != 1,
    }
    return [what for what, is_so in broken.items() if is_so] and [
        *(what for what, is_so in broken.items() if is_so),
        *(line[:300] for line in ended.lines[-30:]),
    ]


def _is_plain(line: str) -> bool:
    return len(line) <= LONGEST_LINE and line.isprintable()


def _is_json(text: str) -> bool:
    try:
        json.loads(text)
    except ValueError:
        return False
    return True


@cache
def drawn(strategy: Any, block: str) -> list[Any]:
    """Return the values that hypothesis draws from a strategy in a block of cases."""
    import hypothesis

    values: list[Any] = []
    limits = hypothesis.settings(
        max_examples=50,
        deadline=None,
        database=None,
        phases=[hypothesis.Phase.generate],
        suppress_health_check=list(hypothesis.HealthCheck),
    )
    number = random.Random(block).getrandbits(64)
    hypothesis.seed(number)(limits(hypothesis.given(strategy)(lambda value: values.append(value))))()  # noqa: PLW0108  (it wants a function)
    return values


def draw(strategy: Any, group: str, number: int, by: int) -> Any:
    """Return what hypothesis draws for a case: the same for the same number, whatever is drawn beside it."""
    values = drawn(strategy, f"{by} {group} {number // 50}")
    return values[number % 50 % len(values)]
