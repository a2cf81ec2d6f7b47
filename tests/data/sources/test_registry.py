"""The registry: a source is one class and one entry, and all else follows from these."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from tiny import TINY_RECIPE

from coc_cli.chain.compress import compress
from coc_cli.chain.plan import make_plan
from coc_cli.data import sources
from coc_cli.data.images import Data, Split
from coc_cli.data.info import DataInfo
from coc_cli.data.settings import DataSettings
from coc_cli.data.sources import SOURCES
from coc_cli.data.sources.source import COMMON_KEYS, Source
from coc_cli.nets.checkpoint_header import read_header
from coc_cli.recipe.model import schema
from coc_cli.recipe.reading import read


class Bars(Source):
    """Images 8x8 of a bright row, which tells the class."""

    summary = hint = "bright rows"
    place = "ROWS"
    takes = (*COMMON_KEYS, "root")

    def place_fault(self, place: str) -> str | None:
        return None if place.isdigit() else f"'{place}' is no number of rows"

    def describe(self, settings: DataSettings) -> DataInfo:
        labels = tuple(f"row {row}" for row in range(int(settings.place)))
        return DataInfo((1, 8, 8), labels, "classification", (0.5,), (0.25,), 8 * len(labels))

    def read(self, settings: DataSettings, seed: int, cache: Path, progress: object) -> Data:  # noqa: ARG002
        generator = torch.Generator().manual_seed(seed)
        info = self.describe(settings)

        def split(n: int) -> Split:
            targets = torch.arange(n * len(info.labels)) % len(info.labels)
            images = torch.randint(0, 99, (len(targets), 1, 8, 8), generator=generator, dtype=torch.uint8)
            images[torch.arange(len(targets)), 0, targets] += 150
            return Split(images, targets)

        return Data(split(16), split(8), split(8), info=info)


@pytest.fixture
def _bars(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(SOURCES, "bars", Bars())


def faults(**keys: object) -> list[tuple[tuple[str, ...], str]]:
    return list(sources.faults(DataSettings(**keys)))  # type: ignore[arg-type]


def test_every_source_says_what_it_is_and_takes_keys_that_there_are() -> None:
    assert list(SOURCES) == ["digits", "digits-rotation", "folder", "csv", "torchvision", "arrays"]
    for source in SOURCES.values():
        assert source.summary
        assert "\n" not in source.summary
        assert set(source.takes) < DataSettings.model_fields.keys() - {"source"}
    everything = {key for source in SOURCES.values() for key in source.takes}
    assert everything == DataSettings.model_fields.keys() - {"source"}


@pytest.mark.usefixtures("_bars")
def test_a_source_that_was_added_is_known_to_every_message() -> None:
    assert "arrays:PATH or bars:ROWS (bright rows)" in json.dumps(schema())
    assert faults(source="bars:3", size=4, root="here") == []
    assert faults(source="bars:x") == [(("source",), "'x' is no number of rows")]
    assert faults(source="bars") == [(("source",), "'bars' needs more: bars:ROWS")]
    assert faults(source="quite another")[0][1] == (
        "no such source 'quite another';"
        " known: arrays:PATH, bars:ROWS, csv:PATH, digits, digits-rotation, folder:PATH, torchvision:NAME"
    )
    assert faults(source="bars-ROWS") == [(("source",), "no such source 'bars-ROWS'; did you mean 'bars:ROWS'?")]
    assert faults(source="digits", root="here") == [(("root",), "only torchvision: or bars: has it; leave it out")]
    assert faults(source="bars:3", test=0.2, label="x") == [
        (("label",), "only csv: has it; leave it out"),
        (("test",), "the source brings its own test split; leave it out"),
    ]


@pytest.mark.usefixtures("_bars")
def test_a_source_that_was_added_is_planned_and_run(recipe: Callable[[str], Path]) -> None:
    path = recipe(TINY_RECIPE.replace("source: digits", "source: 'bars:3'"))
    plan = make_plan(read(path))
    assert plan.steps[0].spec.labels == ("row 0", "row 1", "row 2")
    result = compress(path)
    assert result.ok
    header = read_header(result.directory / "model.safetensors")
    assert (header.spec.labels, header.spec.mean, header.spec.std) == (("row 0", "row 1", "row 2"), (0.5,), (0.25,))
