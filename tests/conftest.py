"""Tiny nets and tiny data: width 4, 8x8 images."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from checkout import left_behind, untracked
from command_line import Run, coc
from record import *  # noqa: F403  (hooks, which pytest looks for here)
from tiny import TINY_EXITS, TINY_RECIPE

from coc_cli.data.images import Data, Split
from coc_cli.data.info import DataInfo
from coc_cli.data.settings import Augment
from coc_cli.files.atomic import locked
from coc_cli.nets.entry import with_graph
from coc_cli.nets.network import Network, fresh
from coc_cli.nets.spec import Scale, Spec
from coc_cli.stages.stage import Lab

LABELS = ("a", "b", "c")
ROOT = Path(__file__).parent.parent
QUICKSTART = [sys.executable, "-m", "coc_cli", "compress", str(ROOT / "recipes/quickstart.yaml")]

torch.set_num_threads(1)  # nets this small gain nothing from a second one


@pytest.fixture(scope="session", autouse=True)
def _nothing_is_left_behind() -> Iterator[None]:
    """Fail if the session leaves files in the repository that git would show."""
    before = untracked()
    yield
    assert left_behind(before, untracked()) == []


@pytest.fixture(autouse=True)
def _deterministic() -> None:
    torch.manual_seed(0)


@pytest.fixture
def spec() -> Spec:
    """A ResNet-8 of width 4 for 8x8 images of one channel, three classes."""
    return with_graph(
        Spec(
            arch="cifar:resnet20",
            args={"depth": 8, "width": 4},
            input_shape=(1, 8, 8),
            mean=(0.5,),
            std=(0.25,),
            labels=LABELS,
        )
    )


@pytest.fixture
def network(spec: Spec) -> Network:
    """That network, with norms that have seen something."""
    made = fresh(spec)
    made(made.normalise(torch.randint(0, 256, (32, 1, 8, 8), dtype=torch.uint8)))
    return made.eval()


@pytest.fixture
def data() -> Data:
    """Images whose brightest third tells the class: 96 to train, 48 to validate, 48 to test."""

    def split(n: int, seed: int) -> Split:
        generator = torch.Generator().manual_seed(seed)
        images = torch.randint(0, 120, (n, 1, 8, 8), generator=generator, dtype=torch.uint8)
        targets = torch.arange(n) % len(LABELS)
        for index, target in enumerate(targets.tolist()):
            images[index, :, :, 3 * target : 3 * target + 2] += 130
        return Split(images, targets)

    info = DataInfo((1, 8, 8), LABELS, "classification", (0.5,), (0.25,), 48)
    return Data(split(96, 1), split(48, 2), split(48, 3), info=info)


@pytest.fixture
def numbers(data: Data) -> Data:
    """The same images; what is asked for is where the bright third is, and its opposite on another scale."""

    def asked(split: Split) -> Split:
        place = split.targets.float()
        return Split(split.images, torch.stack([10 + 5 * place, -100 * place], 1))

    info = replace(data.info, labels=("place", "opposite"), task="regression")
    return Data(asked(data.train), asked(data.validation), asked(data.test), info=info)


@pytest.fixture
def regressor(spec: Spec, data: Data) -> Network:
    """A network that gives two numbers, with norms that have seen something."""
    scale = Scale(mean=(15.0, -100.0), std=(4.1, 82.0))
    made = fresh(spec.with_changes(task="regression", labels=("place", "opposite"), scale=scale))
    made(made.normalise(data.train.images))
    return made.eval()


@pytest.fixture
def lab(data: Data, network: Network, tmp_path: Path) -> Lab:
    return Lab(data, Augment(), "cpu", 7, network, tmp_path, lambda _: None)


@pytest.fixture
def images(data: Data) -> torch.Tensor:
    """Normalised test images [48, 1, 8, 8]."""
    return (data.test.images.float() / 255 - 0.5) / 0.25


@pytest.fixture(scope="session")
def quickstart() -> Path:
    """The quickstart's run directory; README's first command has left it, or it is made now."""
    (ROOT / "runs").mkdir(exist_ok=True)
    with locked(ROOT / "runs/.tests.lock", wait=True):  # another process may want it, too
        subprocess.run(QUICKSTART, cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
    return ROOT / "runs/quickstart"


@pytest.fixture
def recipe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Path]:
    """Write a recipe into an empty folder that becomes the current one; without text it is a tiny whole one."""
    monkeypatch.chdir(tmp_path)

    def write(text: str = TINY_RECIPE) -> Path:
        path = Path("recipe.yaml")
        path.write_text(text)
        return path

    return write


def _compressed(folder: Path, text: str) -> Run:
    """Run a recipe in an empty folder."""
    (folder / "recipe.yaml").write_text(text)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        return Run(folder, coc("compress", "recipe.yaml"))


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """The tiny recipe's run."""
    return _compressed(tmp_path_factory.mktemp("finished"), TINY_RECIPE)


@pytest.fixture
def workspace(finished: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the folder of that run, with its cache, that becomes the current one."""
    folder = tmp_path / "workspace"
    shutil.copytree(finished.folder, folder)
    monkeypatch.chdir(folder)
    return folder


@pytest.fixture(scope="session")
def exits_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run directory of a small network with an exit behind every block; to be read only."""
    return _compressed(tmp_path_factory.mktemp("exits"), TINY_EXITS).directory


@pytest.fixture(scope="session")
def predicted(exits_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """What `coc predict-exit` leaves in a copy of that run and prints, the predictor fitted as for a user."""
    folder = tmp_path_factory.mktemp("predicted")
    shutil.copytree(exits_run, folder / "runs/tiny")
    return Run(folder, coc("predict-exit", folder / "runs/tiny", "--profile", "cortex-m7", "--deadline", "1.25x"))


@pytest.fixture(scope="session")
def few_exits_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same for a smaller network on 300 images: for tests that predict anew; to be read only."""
    changes = {"depth: 14": "depth: 8", "epochs: 3": "epochs: 2", "source: digits": "source: digits, limit: 300"}
    text = TINY_EXITS
    for old, new in changes.items():
        assert text.count(old) == 1
        text = text.replace(old, new)
    return _compressed(tmp_path_factory.mktemp("few_exits"), text).directory


@pytest.fixture
def few_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    """A predictor that is fitted in a fiftieth of the steps: for tests that do not look at how well it predicts."""
    monkeypatch.setattr("coc_cli.exits.predictor_fitting.STEPS", 60)
