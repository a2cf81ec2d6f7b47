"""`coc plan` says what the images will take in memory and on disk, and they do take that."""

from __future__ import annotations

from math import prod
from pathlib import Path

import pytest
from command_line import coc
from pictures import below, tree
from tiny import TINY_RECIPE

from coc_cli.data import sources
from coc_cli.data.settings import DataSettings


@pytest.fixture(autouse=True)
def _pets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name, content in below("pets", tree({"a": 20, "b": 20})).items():
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Path(name).write_bytes(content)


@pytest.mark.parametrize(
    ("data", "line"),
    [
        ("{source: digits}", "data: 1,797 images of 1x8x8, 115kB in memory"),
        ("{source: digits, size: [16, 8], channels: 3}", "data: 1,797 images of 3x16x8, 690kB in memory"),
        ("{source: 'torchvision:CIFAR10'}", "data: 60,000 images of 3x32x32, 184MB in memory"),
        ("{source: 'folder:pets', size: 16}", "data: 40 images of 3x16x16, 30.7kB in memory, 30.7kB in runs/.cache/data"),
        ("{source: 'folder:pets', size: 16, limit: 8}", "data: 19 images of 3x16x16, 14.6kB in memory, 14.6kB in runs/.cache/data"),
        ("{source: 'folder:pets', memory: 0}", "data: 40 images of 3x8x8, too large for memory, 7.68kB in runs/.cache/data"),
    ],
)  # fmt: skip
def test_the_plan_says_it(data: str, line: str) -> None:
    Path("r.yaml").write_text(TINY_RECIPE.replace("{source: digits}", data))
    assert line in coc("plan", "r.yaml").stdout.splitlines()
    assert not Path("runs").exists()


@pytest.mark.parametrize(
    ("source", "keys"),
    [
        ("digits", {}),
        ("digits", {"limit": 50, "validation": 0.3}),
        ("digits-rotation", {"validation": 0.3}),
        ("folder:pets", {}),
        ("folder:pets", {"limit": 5, "size": 16}),
        ("folder:pets", {"memory": 0.0, "holdout": 0.2}),
    ],
)
def test_it_is_what_they_take(source: str, keys: dict[str, object]) -> None:
    settings = DataSettings(source=source, **keys)  # type: ignore[arg-type]
    info = sources.describe(settings)
    data = sources.read(settings, 3, cache=Path("cache"))
    arrays = {split.images.data_ptr(): split.images.nbytes for split in data.splits}
    assert sum(arrays.values()) == info.images * prod(info.shape)
    if source == "folder:pets":
        kept = sum(path.stat().st_size for path in Path("cache").rglob("images.npy"))
        assert kept == info.images * prod(info.shape) + 128  # numpy's header
