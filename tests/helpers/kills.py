"""`coc compress` in a child that a signal strikes: at a moment, or inside a write, half of whose bytes are on disk."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from children import Ended
from typing_extensions import Self

SIGNALS = (signal.SIGKILL, signal.SIGINT, signal.SIGTERM)
PROGRAM = """\
import contextlib, io, itertools, json, os, pathlib, sys, threading
from coc_cli.__main__ import main
os.chdir(sys.argv.pop(1))
with contextlib.suppress(SystemExit), contextlib.redirect_stdout(sys.stderr):
    main()  # the undisturbed run; whatever takes seconds to import is there then
print("ready", flush=True)
for line in sys.stdin:
    if not (run := os.fork()):
        break
    print(os.waitstatus_to_exitcode(os.waitpid(run, 0)[1]), flush=True)
else:
    sys.exit()
folder, number, how, at, *sys.argv[1:] = json.loads(line)
os.chdir(folder)
for descriptor, name in enumerate(("/dev/null", "stdout", "stderr")):
    os.dup2(os.open(name, os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o600), descriptor)
steps = itertools.count()


def step():
    if how == "step" and next(steps) == at:
        os.kill(os.getpid(), number)


class HalfWay(io.BufferedWriter):
    def write(self, content):
        half = super().write(content[: len(content) // 2])
        self.flush()
        step()
        return half + super().write(content[half:])


def opened(path, mode="r", *arguments, **options):
    return HalfWay(io.FileIO(path, "x")) if mode == "xb" else plain_open(path, mode, *arguments, **options)


def appending(descriptor, mode="r", *arguments, **options):
    return HalfWay(io.FileIO(descriptor, "a")) if mode == "ab" else plain_fdopen(descriptor, mode, *arguments, **options)


def before(function):
    def stepped(*arguments, **options):
        step()
        return function(*arguments, **options)

    return stepped


plain_open, plain_fdopen = pathlib.Path.open, os.fdopen
pathlib.Path.open, os.fdopen = opened, appending
os.fsync, pathlib.Path.unlink = before(os.fsync), before(pathlib.Path.unlink)
if how == "time":
    timer = threading.Timer(at, os.kill, (os.getpid(), number))
    timer.daemon = True
    timer.start()
try:
    main()
except SystemExit as end:
    print("steps", next(steps), flush=True)
    sys.stderr.flush()
    os._exit(end.code or 0)  # what is imported takes a second to be put away
"""


@dataclass(frozen=True)
class Kill:
    """A signal, and when: so many seconds into the work, or at so many steps of writes (half, whole, renamed, removed)."""

    name: str
    how: str
    at: float


def drawn(dice: random.Random, number: signal.Signals, seconds: float, steps: int) -> Kill:
    """Draw the moment of a kill, in seconds or in steps of writes, at most so many of them into the work."""
    if dice.random() < 0.5:
        return Kill(number.name, "time", round(dice.uniform(0, seconds), 3))
    return Kill(number.name, "step", dice.randrange(steps))


class Runs:
    """Runs of `coc compress`, each in a process of its own, forked from one that has done it undisturbed in a folder."""

    def __init__(self, folder: Path, recipe: Path) -> None:
        self.recipe = recipe
        self._forks = subprocess.Popen(
            [sys.executable, "-c", PROGRAM, str(folder), "compress", str(recipe)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            env={**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"},
        )
        assert self._forks.stdout
        assert self._forks.stdout.readline() == "ready\n"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._forks.communicate(timeout=60)

    def compress(self, folder: Path, kill: Kill | None = None) -> Ended:
        """Run the recipe in a folder; a kill may come too late to strike."""
        number, how, at = (int(signal.Signals[kill.name]), kill.how, kill.at) if kill else (0, "step", -1)
        assert self._forks.stdin
        assert self._forks.stdout
        self._forks.stdin.write(json.dumps([str(folder), number, how, at, "compress", str(self.recipe)]) + "\n")
        self._forks.stdin.flush()
        code = int(self._forks.stdout.readline())
        said = {name: (folder / name).read_text(errors="replace") for name in ("stdout", "stderr")}
        return Ended(code, **said)


def has_struck(ended: Ended, kill: Kill) -> bool:
    """Return whether a child was ended by a kill, in the way that is promised; False where it was done before."""
    if ended.code == 0:
        return False
    if kill.name == "SIGKILL":
        assert ended.code == -signal.SIGKILL, ended
        return True
    assert ended.code == 130, (kill, ended)
    if kill.how == "time" and not ended.stderr:
        return True  # before the verb had begun
    assert ended.lines[-1] == "interrupted; the same command goes on from the last epoch", (kill, ended)
    assert "Traceback" not in ended.stderr, (kill, ended)
    return True


def left_over(folder: Path) -> list[str]:
    """Return what finished runs may not leave below a folder: what is half written, and states of trainings."""
    names = (path for path in folder.rglob("*") if path.is_file())
    return sorted(str(path) for path in names if path.name[1:].rpartition(".")[2].isdigit() or path.suffix == ".pt")
