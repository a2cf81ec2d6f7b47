"""Tables: classes or numbers, splits, and every row that is wrong."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from pictures import encoded, pixels

from coc_cli.data.source import DataSettings
from coc_cli.errors import StageError


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Thirty pictures in a folder beside the table."""
    monkeypatch.chdir(tmp_path)
    Path("set/images").mkdir(parents=True)
    for index in range(30):
        Path(f"set/images/{index}.png").write_bytes(encoded(pixels(index)))


def table(header: str, row: str, rows: int = 30) -> None:
    """Write a table whose rows are `row` with {i} filled in."""
    lines = [header, *(row.format(i=i, half=i / 2, word="xyz"[i % 3], ten=[2, 10, 1][i % 3]) for i in range(rows))]
    Path("set/all.csv").write_text("\n".join(lines) + "\n", encoding="utf-8-sig")


def settings(**keys: object) -> DataSettings:
    return DataSettings(source="csv:set/all.csv", **keys)  # type: ignore[arg-type]


def test_classes_are_any_text() -> None:
    table("image,kind", "images/{i}.png,{word}")
    data = settings(label="kind").read(0, cache=Path("cache"))
    assert (data.info.labels, data.info.task) == (("x", "y", "z"), "classification")
    assert [len(split) for split in data.splits] == [21, 3, 6]
    image = torch.from_numpy(pixels(4).transpose(2, 0, 1))
    found = [int(y) for split in data.splits for x, y in zip(*next(split.batches(99)), strict=True) if x.equal(image)]
    assert found == [1]


def test_classes_that_are_numbers_are_in_their_order() -> None:
    table("image,kind", "images/{i}.png,{ten}")
    assert settings(label="kind").describe().labels == ("1", "2", "10")


def test_one_or_more_numbers_to_predict() -> None:
    table("file;a".replace(";", ","), "images/{i}.png,{half}")
    data = settings(image="file", targets="a").read(0, cache=Path("cache"))
    assert (data.info.labels, data.info.task, data.train.targets.dtype) == (("a",), "regression", torch.float32)
    assert sorted(torch.cat([split.targets for split in data.splits])[:, 0].tolist()) == [i / 2 for i in range(30)]
    table("image,a,b", "images/{i}.png,{i},-{half}")
    data = settings(targets=("b", "a")).read(0, cache=Path("cache"))
    assert data.info.labels == ("b", "a")
    assert torch.equal(data.test.targets[:, 0], -data.test.targets[:, 1] / 2)


def test_a_column_says_the_split() -> None:
    words = ["train"] * 20 + ["val"] * 3 + ["validation"] * 2 + ["test"] * 5
    lines = [f"images/{i}.png,{'ab'[i % 2]},{word}" for i, word in enumerate(words)]
    Path("set/all.csv").write_text("\n".join(["image,kind,part", *lines]))
    data = settings(label="kind", split="part").read(0, cache=Path("cache"))
    assert [len(split) for split in data.splits] == [20, 5, 5]
    assert torch.equal(next(data.test.batches(9))[0][0], torch.from_numpy(pixels(25).transpose(2, 0, 1)))
    with pytest.raises(StageError, match="the source brings its own test split; leave it out"):
        settings(label="kind", split="part", test=0.2).describe()


def test_every_wrong_row_is_counted_and_named_by_its_line() -> None:
    table("image,a,part", "images/{i}.png,{i},train", rows=20)
    with Path("set/all.csv").open("a") as file:
        file.writelines(f"images/{i}.png,1,train\n" for i in range(40, 47))
        file.write("images/1.png,many,train\nimages/2.png,nan,test\nimages/3.png,3,tset\nimages/4.png\n")
    with pytest.raises(StageError) as caught:
        settings(targets="a", split="part").describe()
    assert caught.value.what.split("; ") == [
        "set/all.csv: no such image in 7 rows: line 22 ('images/40.png'), line 23 ('images/41.png'),"
        " line 24 ('images/42.png'), line 25 ('images/43.png'), line 26 ('images/44.png') and 2 more",
        "set/all.csv: no split (train, validation or test) in 2 rows: line 31 ('tset'), line 32 ('')",
        "set/all.csv: no number for a in 3 rows: line 29 ('many'), line 30 ('nan'), line 32 ('')",
    ]


@pytest.mark.parametrize(
    ("keys", "what", "key"),
    [
        ({"label": "kin"}, "'set/all.csv' has no column 'kin'; did you mean 'kind'?", "label"),
        ({"label": "kind", "image": "path"}, "'set/all.csv' has no column 'path'; known: image, kind", "image"),
        ({"targets": ("kind", "b")}, "'set/all.csv' has no column 'b'; known: image, kind", "targets"),
        ({"label": "kind", "split": "s"}, "'set/all.csv' has no column 's'; known: image, kind", "split"),
    ],
)
def test_a_column_that_is_not_there(keys: dict[str, object], what: str, key: str) -> None:
    table("image,kind", "images/{i}.png,{word}")
    with pytest.raises(StageError) as caught:
        settings(**keys).describe()
    assert (caught.value.what, caught.value.key) == (what, key)


@pytest.mark.parametrize(
    ("content", "what"),
    [
        (b"image,kind\n", "'set/all.csv' has no rows"),
        (b"image,kind\nimages/1.png,\xff\n", "'set/all.csv' cannot be read as a csv: "),
        (b"image,kind\n" + b"images/1.png,a\n" * 9, "needs at least two classes, has a"),
        (
            b"image,kind\nimages/1.png,\nimages,b\n",
            "set/all.csv: no such image in 1 row: line 3 ('images'); set/all.csv: no",
        ),
        (b"image,kind\n" + b"images/1.png,a\n" * 9 + b"images/2.png,b", "1 class with too few images to train on"),
    ],
)
def test_tables_that_cannot_be_used(content: bytes, what: str) -> None:
    Path("set/all.csv").write_bytes(content)
    with pytest.raises(StageError) as caught:
        settings(label="kind").describe()
    assert caught.value.what.startswith(what)
