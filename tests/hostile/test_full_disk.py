"""A disk that is full at any point of a run: one line that names a file, and the same bytes once there is space again."""

from __future__ import annotations

import resource
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from command_line import Outcome, coc
from kills import left_over
from sampling import tiered
from tiny import TINIEST_RECIPE, results

RUN = Path("runs/tiny")
LIMITS = (0, 1, 100, 700, 2_000, 6_000, 11_000, 20_000, 30_000, 60_000)  # bytes of a file
DISKS = (4, 8, 16, 24, 32, 48, 64, 96, 160, 240)  # kB; the run and its cache need more


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run directory for which there was space."""
    folder = tmp_path_factory.mktemp("undisturbed")
    (folder / "recipe.yaml").write_text(TINIEST_RECIPE)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        coc("compress", "recipe.yaml")
    return folder / RUN


@contextmanager
def files_of_at_most(size: int) -> Iterator[None]:
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@contextmanager
def disk(folder: Path, kilobytes: int) -> Iterator[None]:
    command = ["mount", "-t", "tmpfs", "-o", f"size={kilobytes}k", "tmpfs", str(folder)]
    if subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip("a disk cannot be mounted here")
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


def check_refusal(ended: Outcome, reason: str, undisturbed: Path) -> None:
    """The last line names a file and says what to do; a page for which there is no space fails no run."""
    assert "Traceback" not in ended.stderr
    last = ended.stderr.splitlines()[-1]
    if ended.code == 0:
        assert last.startswith("warning: the page was not written"), ended
        assert results(RUN) == results(undisturbed)
        return
    assert last.startswith(("runs/", "stage ")), ended
    assert reason in last, ended
    assert ended.code == (2 if "cannot be" in last else 1)


@pytest.mark.parametrize("size", tiered(LIMITS, quick=(), full=2))
def test_a_limit_of_file_sizes(size: int, undisturbed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("recipe.yaml").write_text(TINIEST_RECIPE)
    with files_of_at_most(size):
        ended = coc("compress", "recipe.yaml", code=None)
    check_refusal(ended, "File too large; raise the limit of file sizes (ulimit -f)", undisturbed)
    coc("compress", "recipe.yaml")
    assert results(RUN) == results(undisturbed)
    assert left_over(tmp_path) == []


@pytest.mark.parametrize("kilobytes", tiered(DISKS, quick=(), full=2))
def test_a_small_disk(kilobytes: int, undisturbed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(TINIEST_RECIPE)
    place = tmp_path / "disk"
    place.mkdir()
    with disk(place, kilobytes):
        monkeypatch.chdir(place)
        ended = coc("compress", recipe, code=None)
        check_refusal(ended, "No space left on device", undisturbed)
        subprocess.run(["mount", "-o", "remount,size=64m", str(place)], check=True)
        coc("compress", recipe)
        assert results(RUN) == results(undisturbed)
        assert left_over(place) == []
        monkeypatch.chdir(tmp_path)
