"""Tables: classes or numbers, splits, and every row that is wrong."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from pictures import encoded, pixels

from coc_cli.data import sources
from coc_cli.data.settings import DataSettings
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


def rows(labels: str) -> bytes:
    """Give a table of as many pictures as there are letters, each a picture's class."""
    return "\n".join(["image,kind", *(f"images/{i}.png,{label}" for i, label in enumerate(labels))]).encode()


def faults(**keys: object) -> list[tuple[str | None, str]]:
    """Give all that is wrong with the table, each with its key."""
    with pytest.raises(StageError) as caught:
        sources.describe(settings(**keys))
    return list(caught.value.parts)


def settings(**keys: object) -> DataSettings:
    return DataSettings(source="csv:set/all.csv", **keys)  # type: ignore[arg-type]


def test_classes_are_any_text() -> None:
    table("image,kind", "images/{i}.png,{word}")
    data = sources.read(settings(label="kind"), 0, cache=Path("cache"))
    assert (data.info.labels, data.info.task) == (("x", "y", "z"), "classification")
    assert [len(split) for split in data.splits] == [21, 3, 6]
    image = torch.from_numpy(pixels(4).transpose(2, 0, 1))
    found = [int(y) for split in data.splits for x, y in zip(*next(split.batches(99)), strict=True) if x.equal(image)]
    assert found == [1]


def test_classes_that_are_numbers_are_in_their_order() -> None:
    table("image,kind", "images/{i}.png,{ten}")
    assert sources.describe(settings(label="kind")).labels == ("1", "2", "10")


def test_one_or_more_numbers_to_predict() -> None:
    table("file;a".replace(";", ","), "images/{i}.png,{half}")
    data = sources.read(settings(image="file", targets="a"), 0, cache=Path("cache"))
    assert (data.info.labels, data.info.task, data.train.targets.dtype) == (("a",), "regression", torch.float32)
    assert sorted(torch.cat([split.targets for split in data.splits])[:, 0].tolist()) == [i / 2 for i in range(30)]
    table("image,a,b", "images/{i}.png,{i},-{half}")
    data = sources.read(settings(targets=("b", "a")), 0, cache=Path("cache"))
    assert data.info.labels == ("b", "a")
    assert torch.equal(data.test.targets[:, 0], -data.test.targets[:, 1] / 2)


def test_a_column_says_the_split() -> None:
    words = ["train"] * 20 + ["val"] * 3 + ["validation"] * 2 + ["test"] * 5
    lines = [f"images/{i}.png,{'ab'[i % 2]},{word}" for i, word in enumerate(words)]
    Path("set/all.csv").write_text("\n".join(["image,kind,part", *lines]))
    data = sources.read(settings(label="kind", split="part"), 0, cache=Path("cache"))
    assert [len(split) for split in data.splits] == [20, 5, 5]
    assert torch.equal(next(data.test.batches(9))[0][0], torch.from_numpy(pixels(25).transpose(2, 0, 1)))
    with pytest.raises(StageError, match="the source brings its own test split; leave it out"):
        sources.describe(settings(label="kind", split="part", test=0.2))


def test_every_wrong_row_is_counted_and_named_by_its_line() -> None:
    table("image,a,part", "images/{i}.png,{i},train", rows=20)
    with Path("set/all.csv").open("a") as file:
        file.writelines(f"images/{i}.png,1,train\n" for i in range(40, 47))
        file.write("images/21.png,many,train\nimages/22.png,nan,test\nimages/23.png,3,tset\nimages/24.png\n")
    with pytest.raises(StageError) as caught:
        sources.describe(settings(targets="a", split="part"))
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
        sources.describe(settings(**keys))
    assert (caught.value.what, caught.value.key) == (what, key)


@pytest.mark.parametrize(
    ("content", "what"),
    [
        (b"image,kind\n", "'set/all.csv' has no rows"),
        (b"image,kind\nimages/1.png,\xff\n", "'set/all.csv' cannot be read as a csv: "),
        (rows("a" * 9), "needs at least two classes, has a"),
        (
            b"image,kind\nimages/1.png,\nimages,b\n",
            "set/all.csv: no such image in 1 row: line 3 ('images'); set/all.csv: no",
        ),
        (rows("a" * 9 + "b"), "1 class with too few images to train on"),
    ],
)
def test_tables_that_cannot_be_used(content: bytes, what: str) -> None:
    Path("set/all.csv").write_bytes(content)
    with pytest.raises(StageError) as caught:
        sources.describe(settings(label="kind"))
    assert caught.value.what.startswith(what)


def write(*lines: str) -> None:
    Path("set/all.csv").write_text("\n".join(lines) + "\n")


WHOLE = [f"images/{i}.png,{'xy'[i % 2]},{part}" for i, part in enumerate(["train"] * 8 + ["val"] * 2 + ["test"] * 2)]


def test_an_image_in_two_splits_is_refused_however_its_path_is_written() -> None:
    write("image,kind,part", *WHOLE, "./images/../images/0.png,x,test", "images/1.png,y,val")
    what = "2 images in more than one split: images/0.png (lines 2, 14), images/1.png (lines 3, 15)"
    assert faults(label="kind", split="part") == [("split", f"set/all.csv: {what}")]


def test_an_image_in_two_rows_that_may_be_cut_apart_is_refused() -> None:
    write("image,a", *(f"images/{i}.png,{i}" for i in range(20)), "images/3.png,5")
    what = "1 image in several rows, which may be cut into two splits: images/3.png (lines 5, 22)"
    assert faults(targets="a") == [("image", f"set/all.csv: {what}; keep one row of each")]
    write("image,kind,part", *WHOLE[:10], "images/0.png,x,train", "images/3.png,y,train")
    assert "2 images in several rows" in faults(label="kind", split="part")[0][1]


def test_an_image_twice_in_a_split_that_is_given_is_taken_twice() -> None:
    write("image,kind,part", *WHOLE, "images/0.png,x,train")
    data = sources.read(settings(label="kind", split="part"), 0, cache=Path("cache"))
    assert [len(split) for split in data.splits] == [9, 2, 2]


def test_too_few_images_to_train_on() -> None:
    table("image,a", "images/{i}.png,{i}", rows=3)
    what = "3 images are too few: 1 to train on, 1 to validate and 1 to test; needs at least 2, 1 and 1"
    assert faults(targets="a") == [("source", what)]
    table("image,a", "images/{i}.png,{i}", rows=4)
    assert sources.describe(settings(targets="a")).validation_images == 1


def test_case_and_blanks_do_not_matter() -> None:
    lines = [line.replace(",x", ", x ").replace("train", " Train").replace("test", "TESTING ") for line in WHOLE]
    write("image , kind,part", *lines)
    data = sources.read(settings(label="kind", split="part"), 0, cache=Path("cache"))
    assert (data.info.labels, [len(split) for split in data.splits]) == (("x", "y"), [8, 2, 2])


def test_a_share_beside_a_given_split_is_refused() -> None:
    write("image,kind,part", *WHOLE)
    assert faults(label="kind", split="part", validation=0.2, test=0.2) == [
        ("validation", "the source brings its own validation split; leave it out"),
        ("test", "the source brings its own test split; leave it out"),
    ]


def test_all_columns_that_are_missing_are_told_at_their_keys() -> None:
    table("image,kind", "images/{i}.png,{word}")
    assert [key for key, _ in faults(image="i", targets=("a", "kind", "b"), split="part")] == [
        *("image", "split", "targets", "targets")
    ]


@pytest.mark.parametrize(
    ("header", "what"),
    [
        ("", "'set/all.csv' is empty; its first line has to name the columns"),
        ("image;kind", "'set/all.csv' has one column, 'image;kind'; is it separated by ';'? It needs commas"),
        ("image\tkind", "'set/all.csv' has one column, 'image\tkind'; is it separated by tabs? It needs commas"),
        ("image,kind,a,kind", "'set/all.csv' has the column 'kind' more than once"),
    ],
)
def test_headers_that_cannot_be_used(header: str, what: str) -> None:
    Path("set/all.csv").write_text(header)
    assert faults(label="kind") == [("source", what)]


def test_more_fields_than_columns() -> None:
    table("image,kind", "images/{i}.png,{word}")
    with Path("set/all.csv").open("a") as file:
        file.write("images/1,5.png,x\n")
    assert faults(label="kind")[0] == ("source", "set/all.csv: more fields than columns in 1 row: line 32 ('images/1')")


@pytest.mark.filterwarnings("error")
def test_targets_that_cannot_be_learnt() -> None:
    table("image,a,b,c", "images/{i}.png,5,{i},20261121{i}")
    columns = ("a", "b", "c")
    assert faults(targets=columns) == [
        ("targets", "'a' is 5 for every training image; there is nothing to learn"),
    ]
    write("image,a", *(f"images/{i}.png,{20261121 + i}" for i in range(30)))
    what = "'a' varies too little for its size to be kept in 32 bits; subtract an offset such as 20261121"
    assert faults(targets="a") == [("targets", what)]
    write("image,a", *(f"images/{i}.png,{i}e39" for i in range(2, 5)))
    assert faults(targets="a")[0][1].startswith("set/all.csv: no number for a in 3 rows: line 2 ('2e39')")


def test_the_same_target_twice_is_refused_by_the_recipe() -> None:
    table("image,a", "images/{i}.png,{i}")
    assert list(sources.faults(settings(targets=("a", "a")))) == [(("targets",), "'a' is named twice")]


def test_groups_of_a_column_stay_in_one_split() -> None:
    table("image,kind,who", "images/{i}.png,{word},p{half:.0f}")
    data = sources.read(settings(label="kind", group="who", holdout=0.2), 0, cache=Path("cache"))
    splits = [split for split in (*data.splits, data.holdout) if split is not None]
    groups = [set(split.groups.tolist()) for split in splits if split.groups is not None]
    assert (len(groups), sum(map(len, groups))) == (4, len(set().union(*groups)))
    assert sources.describe(settings(label="kind", group="who")).notes == ()
    few = sources.describe(settings(label="kind", group="who", limit={"train": 2}))
    assert few.labels == data.info.labels, "a limit that leaves a class out is no fault of the groups"


def test_a_group_that_is_wrong() -> None:
    table("image,kind,who,split", "images/{i}.png,{word}, ,train")
    assert faults(label="kind", group="whom") == [
        ("group", "'set/all.csv' has no column 'whom'; did you mean 'who'?"),
    ]
    found = faults(label="kind", group="who")
    assert [key for key, _ in found] == ["group"]
    assert found[0][1].startswith("set/all.csv: no who in 30 rows: line 2 (' '), line 3 (' '),")
    table("image,number,who", "images/{i}.png,{half},{word}")
    lines = Path("set/all.csv").read_text().splitlines()
    Path("set/all.csv").write_text("\n".join(line.replace("z", "y") for line in lines))
    assert faults(targets="number", group="who") == [
        ("group", "2 groups to train on and to cut splits from; needs 3"),
    ]
    places = [f"images/{i}.png,{'ab'[i % 2]},p{i},{'test' if i > 20 else 'train'}" for i in range(29)]
    lines = ["image,kind,who,split", *places, "images/29.png,a,p3,test"]
    Path("set/all.csv").write_text("\n".join(lines))
    assert faults(label="kind", group="who", split="split") == [
        ("group", "1 group in more than one split of the source: 'p3' (train, test)"),
    ]


def test_a_table_without_a_header() -> None:
    table("images/0.png,0.5", "images/{i}.png,{half}")
    seems = "'set/all.csv' has no header, it seems: its first line holds"
    assert faults(targets="angle") == [
        ("source", f"{seems} 'images/0.png', which is a file, but has to name the columns")
    ]
    table("gone.png,-.5e3", "images/{i}.png,{half}")
    assert faults(targets="angle") == [("source", f"{seems} '-.5e3', a number, but has to name the columns")]
    table("images/0.png,0.5", "images/{i}.png,{half}")
    notes = sources.describe(settings(image="images/0.png", targets="0.5")).notes
    assert notes == (
        "the first line of 'set/all.csv' names the columns, and one is called 'images/0.png', which is a file; if it has"
        " no header, add one, or an image is left out",
    )
    table("image,angle,1", "images/{i}.png,{half},7")
    assert sources.describe(settings(targets="angle")).notes == ()
