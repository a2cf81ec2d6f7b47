"""Class folders and archives: what is found, how it is split, and every fault that is told."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
import torch
from pictures import below, encoded, pack, pixels, tree, unpack

from coc_cli.data import sources
from coc_cli.data.info import DataInfo
from coc_cli.data.settings import DataSettings
from coc_cli.errors import StageError

SPLIT = {**below("train", tree({"cat": 10, "dog": 10})), **below("test", tree({"cat": 3, "dog": 3}, first=50))}


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def settings(source: str = "folder:pets", **keys: object) -> DataSettings:
    return DataSettings(source=source, **keys)  # type: ignore[arg-type]


def test_a_folder_with_its_own_test_split() -> None:
    unpack(SPLIT, Path("pets"))
    info = sources.describe(settings())
    assert info == DataInfo((3, 8, 8), ("cat", "dog"), "classification", None, None, 2, 26)
    data = sources.read(settings(), 4, cache=Path("cache"))
    assert [len(split) for split in data.splits] == [18, 2, 6]
    assert torch.equal(data.test.targets, torch.tensor([0, 0, 0, 1, 1, 1]))
    expected = torch.from_numpy(np.stack([pixels(50 + i).transpose(2, 0, 1) for i in range(6)]))
    assert torch.equal(next(data.test.batches(99))[0], expected)
    assert data.validation.targets.tolist() == [0, 1]
    seen = [image.tobytes() for split in data.splits for batch, _ in split.batches(4) for image in batch.numpy()]
    assert len(seen) == len(set(seen)) == 26
    scaled = torch.cat([images for images, _ in data.train.batches(99)]).double() / 255
    assert data.info.mean == tuple(round(float(scaled[:, c].mean()), 4) for c in range(3))
    assert data.info.std == tuple(round(float(scaled[:, c].std(correction=0)), 4) for c in range(3))


def test_an_archive_is_the_same_as_its_folder_and_a_folder_around_all_does_not_matter() -> None:
    unpack(SPLIT, Path("pets"))
    pack(SPLIT, Path("pets.zip"))
    hidden = {"__MACOSX/train/cat/._000.png": b"", "top/.DS_Store": b"", "top/train/cat/.hidden.png": b"no"}
    pack({**below("top", SPLIT), **hidden, "top/readme.txt": b"words"}, Path("top.zip"))
    prints = {
        source: sources.read(settings(f"folder:{source}"), 1, cache=Path("cache")).fingerprint()
        for source in ("pets", "pets.zip", "top.zip")
    }
    assert len(set(prints.values())) == 1
    assert sources.read(settings(), 2, cache=Path("cache")).fingerprint() not in prints.values()


@pytest.mark.parametrize("ending", ["jpg", "jpeg", "png", "bmp", "webp", "ppm", "tif"])
def test_what_pillow_reads_whatever_the_case_of_its_ending(ending: str) -> None:
    files = tree({"a": 5, "b": 5}, ending=ending)
    unpack(
        {name.replace(f"2.{ending}", f"2.{ending.upper()}"): content for name, content in files.items()}, Path("pets")
    )
    data = sources.read(settings(), 0, cache=Path("cache"))
    assert (data.info.shape, sum(map(len, data.splits))) == ((3, 8, 8), 10)


def test_without_splits_both_are_cut_off_class_by_class() -> None:
    unpack(tree({"a": 50, "b": 30, "c": 20}), Path("pets"))
    data = sources.read(settings(validation=0.25, test=0.2), 3, cache=Path("cache"))
    assert [split.targets.bincount().tolist() for split in data.splits] == [[30, 18, 12], [10, 6, 4], [10, 6, 4]]
    assert sources.describe(settings(validation=0.25, test=0.2)).validation_images == 20
    again, other = (sources.read(settings(validation=0.25, test=0.2), seed, cache=Path("cache")) for seed in (3, 4))
    assert data.fingerprint() == again.fingerprint() != other.fingerprint()


def test_a_part_of_train_holds_all_classes() -> None:
    unpack(tree({"a": 50, "b": 50}), Path("pets"))
    data = sources.read(settings(), 0, cache=Path("cache"))
    assert 0.2 < float(data.train.targets[:24].double().mean()) < 0.8


@pytest.mark.parametrize("name", ["val", "validation", "valid"])
def test_a_validation_split_of_its_own_is_used(name: str) -> None:
    unpack({**SPLIT, **below(name, tree({"cat": 2, "dog": 1}, first=90))}, Path("pets"))
    data = sources.read(settings(), 0, cache=Path("cache"))
    assert [len(split) for split in data.splits] == [20, 3, 6]
    assert sources.describe(settings()).validation_images == 3


def test_a_limit_keeps_the_shares_of_the_classes_and_decodes_no_more() -> None:
    unpack(tree({"a": 40, "b": 20, "c": 4}), Path("pets"))
    asked = settings(limit=6, validation=0.5, test=0.5)
    data = sources.read(asked, 0, cache=Path("cache"))
    assert [split.targets.bincount().tolist() for split in data.splits] == [[3, 2, 1]] * 3
    assert sources.describe(asked).validation_images == 6
    assert len(data.train.images) == 18


def test_size_and_channels_are_those_of_the_first_image_unless_asked_for() -> None:
    grey = {f"{name}/{i}.png": encoded(pixels(i, (6, 9), 1)) for name in "ab" for i in range(5)}
    unpack(grey, Path("pets"))
    assert sources.describe(settings()).shape == (1, 6, 9)
    data = sources.read(settings(size=(4, 5), channels=3), 0, cache=Path("cache"))
    assert data.info.shape == (3, 4, 5)
    images = next(data.train.batches(99))[0]
    assert (images.dtype, tuple(images.shape[1:])) == (torch.uint8, (3, 4, 5))
    assert torch.equal(images[:, 0], images[:, 2])
    assert sources.describe(settings(size=4)).shape == (1, 4, 4)


WRONG: dict[str, tuple[dict[str, bytes], str]] = {
    "no images": ({"a/notes.txt": b""}, "'pets' holds no images (.jpg, .jpeg, .png, .bmp, .webp, .ppm, .tif, .tiff)"),
    "one class": (tree({"a": 9}), "needs at least two classes, has a"),
    "no class folders": (
        {f"{i}.png": encoded(pixels(i)) for i in range(7)},
        "7 images in no class folder: 0.png, 1.png, 2.png, 3.png, 4.png and 2 more",
    ),
    "classes that differ": (
        {**SPLIT, **below("test", tree({"cow": 1})), **below("train", tree({"emu": 4}))},
        "2 classes without images: train/cow, test/emu",
    ),
    "something beside train": (
        {**SPLIT, **below("extra", tree({"cat": 1}))},
        "beside train/ stands what is no split: extra; there may be train, validation (valid, val) and test",
    ),
    "test without train": (
        {**below("test", tree({"a": 2, "b": 2})), **below("val", tree({"a": 2, "b": 2}))},
        "has test/, val/, but no train/",
    ),
    "too few": (
        tree({"a": 9, "b": 2, "c": 1}),
        "2 classes with too few images to train on and to cut splits from, each needs 3: 'b' (2), 'c' (1)",
    ),
}


@pytest.mark.parametrize("case", WRONG)
def test_what_is_wrong_with_a_listing(case: str) -> None:
    files, message = WRONG[case]
    unpack(files, Path("pets"))
    with pytest.raises(StageError) as caught:
        sources.describe(settings())
    assert (caught.value.what, caught.value.key) == (message, "source")


def test_an_empty_class_folder_is_named() -> None:
    unpack(SPLIT, Path("pets"))
    Path("pets/train/eel").mkdir()
    with pytest.raises(StageError, match="2 classes without images: train/eel, test/eel"):
        sources.describe(settings())


def test_a_test_share_beside_a_test_split_is_refused() -> None:
    unpack(SPLIT, Path("pets"))
    with pytest.raises(StageError, match="the source brings its own test split; leave it out") as caught:
        sources.describe(settings(test=0.3))
    assert caught.value.key == "test"


def test_every_image_that_cannot_be_used_is_counted_in_one_error() -> None:
    unpack(SPLIT, Path("pets"))
    for index in range(7):
        Path(f"pets/train/dog/{index:03d}.png").write_bytes(b"not a picture")
    whole = Path("pets/test/cat/000.png").read_bytes()
    Path("pets/test/cat/000.png").write_bytes(whole[: len(whole) // 2])
    Path("pets/train/cat/004.png").write_bytes(encoded(pixels(1, (9, 8))))
    with pytest.raises(StageError) as caught:
        sources.read(settings(), 0, cache=Path("cache"))
    assert caught.value.what == (
        "8 images cannot be read: train/dog/000.png (not an image), train/dog/001.png (not an image), train/dog/002.png"
        " (not an image), train/dog/003.png (not an image), train/dog/004.png (not an image) and 3 more; 1 image not 8x8 as the first: train/cat/004.png (9x8); give 'size' to resize all"
    )
    assert not list(Path("cache/data").glob("*/images.npy"))


def test_a_broken_first_image_does_not_hide_the_size() -> None:
    unpack(SPLIT, Path("pets"))
    Path("pets/train/cat/000.png").write_bytes(b"")
    assert sources.describe(settings()).shape == (3, 8, 8)
    with pytest.raises(StageError, match=r"1 image cannot be read: train/cat/000.png"):
        sources.read(settings(), 0, cache=Path("cache"))


def test_a_file_that_is_no_archive() -> None:
    Path("pets.zip").write_bytes(b"PK no")
    with pytest.raises(StageError, match=r"'pets.zip' cannot be read: File is not a zip file"):
        sources.describe(settings("folder:pets.zip"))


@pytest.mark.parametrize("names", [("training", "testing"), ("Train", "TEST"), ("TRAINING", "test")])
def test_splits_by_other_names(names: tuple[str, str]) -> None:
    train, test = names
    unpack({**below(train, tree({"a": 9, "b": 9})), **below(test, tree({"a": 2, "b": 2}, first=50))}, Path("pets"))
    pack({**below(train, tree({"a": 9, "b": 9})), **below(test, tree({"a": 2, "b": 2}, first=50))}, Path("pets.zip"))
    for source in ("folder:pets", "folder:pets.zip"):
        data = sources.read(settings(source), 0, cache=Path("cache"))
        assert (data.info.labels, [len(split) for split in data.splits]) == (("a", "b"), [16, 2, 4])


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (("train_set", "test_set"), "test_set, train_set look like splits; rename them to train, validation and test"),
        (("train2020", "valid-2"), "train2020, valid-2 look like splits; rename them to train, validation and test"),
        (("testing", "learning"), "has testing/, but no train/"),
    ],
)
def test_what_looks_like_splits_is_not_taken_for_classes(names: tuple[str, str], message: str) -> None:
    unpack(
        {name: content for top in names for name, content in below(top, tree({"a": 9, "b": 9})).items()}, Path("pets")
    )
    with pytest.raises(StageError) as caught:
        sources.describe(settings())
    assert caught.value.what == message


def test_classes_that_only_sound_like_a_split() -> None:
    unpack(tree({"training shoes": 5, "boots": 5, "valley": 5}), Path("pets"))
    assert sources.describe(settings()).labels == ("boots", "training shoes", "valley")


def test_a_link_to_a_folder_above_adds_no_images() -> None:
    unpack(tree({"a": 5, "b": 5}), Path("pets"))
    Path("pets/a/up").symlink_to("..")
    assert sum(map(len, sources.read(settings(), 0, cache=Path("cache")).splits)) == 10


def test_a_folder_that_a_link_shows_twice_is_refused() -> None:
    unpack(tree({"a": 5, "b": 5}), Path("pets"))
    Path("pets/c").symlink_to("a")
    with pytest.raises(StageError, match=r"1 folder that a link shows a second time: pets/c \(as pets/a\)"):
        sources.describe(settings())


def test_links_to_nothing_and_folders_that_cannot_be_read_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    unpack(tree({"a": 5, "b": 5}), Path("pets"))
    Path("pets/a/x.png").symlink_to("nowhere.png")
    whole = os.scandir

    def scandir(path: str) -> object:
        if str(path).endswith("b"):
            raise PermissionError(13, "Permission denied", str(path))
        return whole(path)

    monkeypatch.setattr(os, "scandir", scandir)
    with pytest.raises(StageError) as caught:
        sources.describe(settings())
    assert [what for _, what in caught.value.parts] == [
        "1 folder that cannot be read: pets/b (Permission denied)",
        "1 image that cannot be opened: pets/a/x.png (a link to nothing)",
    ]
