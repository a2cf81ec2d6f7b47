"""What the system refuses, in plain words: the file, why and what to do; never a traceback."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from command_line import coc
from pictures import below, tree
from tiny import TINY_RECIPE

from coc_cli.errors import environment_error
from coc_cli.files import atomic

Write = Callable[[str], Path]
RUN = Path("runs/tiny")
SHELL = f"{sys.executable} -m coc_cli"


def shell(command: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["bash", "-c", command],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        env={**os.environ, **environment},
    )


def test_a_full_disk_names_the_file(workspace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(atomic.os, "fsync", full)
    said = coc("compress", workspace / "recipe.yaml", code=1).stderr
    what = "runs/tiny/precision.json: No space left on device; free some space there, or run coc on another disk"
    assert said.splitlines()[-1] == what
    assert list(RUN.glob(".precision.json.*")) == []


@pytest.mark.parametrize("name", ["report.json", "report.html", "model.safetensors", "stages/00-baseline/result.json"])
def test_a_folder_where_a_file_should_be(workspace: Path, name: str) -> None:
    (RUN / name).unlink()
    (RUN / name).mkdir()
    (RUN / name / "kept").touch()
    ended = coc("compress", workspace / "recipe.yaml", code=2)
    assert ended.stderr.splitlines() == [
        f"{RUN / name}: is a folder; move it away, or choose another run directory with --out"
    ]
    assert (RUN / name / "kept").exists()


@pytest.mark.parametrize(
    ("number", "remedy"),
    [
        (errno.EROFS, "choose a place that coc may read and write"),
        (errno.EACCES, "choose a place that coc may read and write"),
        (errno.ENOTDIR, "a file is where a folder should be; move it away"),
        (errno.EIO, None),
    ],
)
def test_every_refusal_names_its_file(number: int, remedy: str | None) -> None:
    said = str(environment_error(OSError(number, os.strerror(number), "a/b")))
    assert said == f"a/b: {os.strerror(number)}" + (f"; {remedy}" if remedy else "")


@pytest.mark.full
def test_a_current_directory_that_is_gone(tmp_path: Path) -> None:
    (tmp_path / "gone").mkdir()
    code = "from coc_cli.__main__ import main; main()"
    done = shell(f"cd {tmp_path}/gone && rmdir {tmp_path}/gone && {sys.executable} -c '{code}' plan recipe.yaml")
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1] == "coc: the current directory is gone; change to one that is there"
    assert "Traceback" not in done.stderr


@pytest.mark.full
@pytest.mark.parametrize("close", [">&-", "2>&-", "<&-", ">&- 2>&- <&-"])
def test_closed_descriptors(recipe: Write, close: str) -> None:
    path = recipe(TINY_RECIPE)
    done = shell(f"{SHELL} plan {path} {close}")
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.full
@pytest.mark.parametrize("command", ["schema --of predict-exit", "plan recipe.yaml", "profiles"])
def test_a_pipe_that_nobody_reads_ends_quietly(recipe: Write, command: str) -> None:
    recipe(TINY_RECIPE)
    done = shell(f"{SHELL} {command} | true; exit ${{PIPESTATUS[0]}}")
    assert done.stderr == ""
    assert done.returncode in (0, 1)


@pytest.mark.full
def test_standard_output_on_a_full_disk(recipe: Write) -> None:
    recipe(TINY_RECIPE)
    done = shell(f"{SHELL} plan recipe.yaml > /dev/full")
    assert done.returncode == 1
    assert done.stderr == (
        "standard output: No space left on device; free some space there, or run coc on another disk\n"
    )


@pytest.mark.full
def test_arguments_that_are_no_utf_8(recipe: Write) -> None:
    recipe(TINY_RECIPE)
    done = shell(f"{SHELL} compress recipe.yaml --out $'runs/\\xff'")
    assert done.returncode == 2
    assert done.stderr == "runs/?: is no UTF-8, which reports need; rename the file or folder\n"
    assert not Path("runs").exists()


def test_classes_whose_names_are_no_utf_8_are_said_in_the_plan(recipe: Write) -> None:
    path = recipe(TINY_RECIPE.replace("source: digits", "source: 'folder:pets'"))
    for name, content in below("pets", tree({"a": 5, "b": 5})).items():
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Path(name).write_bytes(content)
    Path("pets/b").rename(os.fsdecode(b"pets/\xff"))
    said = coc("plan", path, code=2).stderr
    assert said == "recipe.yaml:4: data.source: 1 class whose name is no UTF-8: ?; rename it\n"


@pytest.mark.full
@pytest.mark.parametrize("command", ["plan gr\u00f6\u00dfe.yaml", "report runs/tiny", "report runs/tiny --format md"])
def test_a_terminal_that_knows_ascii_only(workspace: Path, command: str) -> None:
    report = (RUN / "report.json").read_text()
    (RUN / "report.json").write_text(report.replace('"name": "tiny"', '"name": "gr\u00f6\u00dfe"'))
    (workspace / "gr\u00f6\u00dfe.yaml").write_text(TINY_RECIPE)
    done = shell(f"{SHELL} {command}", PYTHONIOENCODING="ascii")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.isascii()


@pytest.mark.full
@pytest.mark.parametrize("after", [0.05, 0.15, 0.4, 0.8, 1.6])
def test_ctrl_c_while_libraries_are_imported(recipe: Write, after: float) -> None:
    recipe(TINY_RECIPE)
    start = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler); print(flush=True)\n"
    code = start + "from coc_cli.__main__ import main; main()"
    process = subprocess.Popen(
        [sys.executable, "-c", code, "compress", "recipe.yaml"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout
    process.stdout.readline()
    time.sleep(after)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "Traceback" not in said
