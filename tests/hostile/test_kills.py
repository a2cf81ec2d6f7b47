"""A run that is killed again and again, inside writes too, ends in the same bytes and leaves nothing half written.

`benchmarks/kills.py` does it to the quickstart.
"""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterator
from pathlib import Path

import pytest
from kills import SIGNALS, Kill, Runs, drawn, has_struck, left_over
from sampling import seed, tiered
from tiny import TINIEST_RECIPE, results

RUN = Path("runs/tiny")
SECONDS, STEPS = 0.5, 80  # of the work on the tiny recipe
CASES = [Kill(number.name, "step", step) for step in range(STEPS) for number in SIGNALS]


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("undisturbed")


@pytest.fixture(scope="module")
def runs(undisturbed: Path) -> Iterator[Runs]:
    recipe = undisturbed / "recipe.yaml"
    recipe.write_text(TINIEST_RECIPE)
    with Runs(undisturbed, recipe) as made:
        yield made


def go_on(runs: Runs, folder: Path) -> None:
    """Run to the end in a folder where runs were killed, and look for what they left."""
    ended = runs.compress(folder)
    assert ended.code == 0, ended
    assert left_over(folder / "runs") == []


@pytest.mark.parametrize("case", tiered(CASES, quick=(), full=4), ids=str)
def test_killed_at_a_step_of_a_write(case: Kill, runs: Runs, undisturbed: Path, tmp_path: Path) -> None:
    assert has_struck(runs.compress(tmp_path, case), case)
    go_on(runs, tmp_path)
    assert results(tmp_path / RUN) == results(undisturbed / RUN)


@pytest.mark.parametrize(
    "count", [pytest.param(5, marks=pytest.mark.full), pytest.param(60, marks=pytest.mark.exhaustive)]
)
def test_killed_again_and_again(count: int, runs: Runs, undisturbed: Path, tmp_path: Path) -> None:
    dice = random.Random(seed())
    folders = (tmp_path / str(number) for number in itertools.count())
    folder = next(folders)
    for number in range(count):
        folder.mkdir(exist_ok=True)
        kill = drawn(dice, SIGNALS[number % len(SIGNALS)], SECONDS, STEPS)
        if not has_struck(runs.compress(folder, kill), kill):  # it came too late, and the next begins anew
            assert results(folder / RUN) == results(undisturbed / RUN)
            folder = next(folders)
    folder.mkdir(exist_ok=True)
    go_on(runs, folder)
    assert results(folder / RUN) == results(undisturbed / RUN)
