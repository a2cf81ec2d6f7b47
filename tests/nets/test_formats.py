"""Every format that was ever written still loads, whatever version of torch wrote it: see benchmarks/formats.py."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest
from command_line import coc

ROOT = Path(__file__).parents[2]
FIXTURES = ROOT / "tests/fixtures"
FOLDERS = sorted(FIXTURES.iterdir())


def _script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("formats", ROOT / "benchmarks/formats.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)
def test_a_checkpoint_answers_as_when_it_was_written(folder: Path) -> None:
    found = _script().check(folder)
    assert {"resnet20-float", "resnet20-quantised", "resnet20-exits"} <= found.keys()
    for name, one in found.items():
        assert str(one["format"]) == folder.name[len("format-")], name
        assert one["off"] < 1e-5, name
        assert one["classes"], name
        assert one["exits"], name
        assert one["exits_used"] == (2 if "exits" in name else 1), name


def test_there_is_a_folder_for_each_format_under_two_versions() -> None:
    assert [folder.name for folder in FOLDERS] == [
        f"format-{number}-torch-{version}" for number in (1, 2) for version in ("2.11", "2.14")
    ]


@pytest.mark.parametrize(("number", "kept"), [(1, "format 1, no checksum"), (2, "format 2, checksum ")])
def test_inspect_says_whether_there_is_a_checksum(number: int, kept: str) -> None:
    said = coc("inspect", FIXTURES / f"format-{number}-torch-2.14/resnet20-exits.safetensors").stdout
    assert kept in said
