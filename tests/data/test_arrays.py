"""Arrays in a .npz: the splits that are there or are cut, and what is refused in a line."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.lib import format as npy

from coc_cli.data import sources
from coc_cli.data.array_file import read_array_file
from coc_cli.data.images import Data
from coc_cli.data.settings import DataSettings
from coc_cli.errors import StageError

DRAW = np.random.default_rng(0)
IMAGES = DRAW.integers(0, 256, (60, 1, 4, 5), dtype=np.uint8)
CLASSES = np.arange(60) % 3
NUMBERS = DRAW.normal(size=(60, 2))


def read(path: Path, **keys: Any) -> Data:
    settings = DataSettings(source=f"arrays:{path}", **keys)
    assert list(sources.faults(settings)) == []
    info = sources.describe(settings)
    data = sources.read(settings, 3, cache=path.parent / "cache")
    assert (info.labels, info.task, info.validation_images) == (
        data.info.labels, data.info.task, len(data.validation),
    )  # fmt: skip
    return data


def test_arrays_are_cut_by_the_seed_and_every_image_keeps_its_target(tmp_path: Path) -> None:
    np.savez(tmp_path / "set.npz", images=IMAGES, targets=CLASSES, labels=np.array(["a", "b", "c"]))
    data = read(tmp_path / "set.npz")
    assert [len(split) for split in data.splits] == [43, 5, 12]
    assert data.info.labels == ("a", "b", "c")
    seen = []
    for split in data.splits:
        images = split.take(torch.arange(len(split))).numpy()
        places = [int(np.flatnonzero((image == IMAGES).all((1, 2, 3)))[0]) for image in images]
        assert split.targets.tolist() == CLASSES[places].tolist()
        seen += places
    assert sorted(seen) == list(range(60))


def test_splits_and_numbers_stay_as_they_are(tmp_path: Path) -> None:
    np.savez_compressed(
        tmp_path / "set.npz",
        train_images=IMAGES[:30], train_targets=NUMBERS[:30],
        validation_images=IMAGES[30:40], validation_targets=NUMBERS[30:40],
        test_images=IMAGES[40:], test_targets=NUMBERS[40:],
        labels=np.array(["x", "y"]),
    )  # fmt: skip
    data = read(tmp_path / "set.npz")
    assert [len(split) for split in data.splits] == [30, 10, 20]
    np.testing.assert_array_equal(data.test.take(torch.arange(20)), IMAGES[40:])
    np.testing.assert_array_equal(data.test.targets, NUMBERS[40:].astype(np.float32))
    assert (data.info.task, data.info.labels) == ("regression", ("x", "y"))
    few = read(tmp_path / "set.npz", limit={"train": 7}, size=(8, 8), channels=3)
    assert [len(split) for split in few.splits] == [7, 10, 20]
    assert few.info.shape == (3, 8, 8)


def test_a_vector_of_numbers_is_one_target(tmp_path: Path) -> None:
    np.savez(tmp_path / "set.npz", images=IMAGES, targets=NUMBERS[:, 0])
    assert read(tmp_path / "set.npz").train.targets.shape == (43, 1)


def lying_header() -> bytes:
    """An array whose header says that it is far larger than it is."""
    text = io.BytesIO()
    npy.write_array_header_1_0(text, {"descr": "|u1", "fortran_order": False, "shape": (10**9, 1, 1000, 1000)})
    return text.getvalue()


def archive(**content: bytes) -> Callable[[Path], None]:
    def write(path: Path) -> None:
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
            for name, text in content.items():
                file.writestr(f"{name}.npy", text)

    return write


def saved(**arrays: Any) -> Callable[[Path], None]:
    return lambda path: np.savez(path, **arrays)


NEEDS = "needs 'images' and 'targets', or 'train_images' and 'train_targets' and so on; it has"


@pytest.mark.parametrize(
    ("write", "text"),
    [
        (saved(x=IMAGES), f"{NEEDS} x"),
        (saved(images=IMAGES), f"{NEEDS} images"),
        (saved(train_images=IMAGES, train_targets=CLASSES, test_images=IMAGES),
         f"{NEEDS} train_images, train_targets, test_images"),
        (saved(test_images=IMAGES, test_targets=CLASSES), f"{NEEDS} test_images, test_targets"),
        (saved(images=IMAGES.astype(np.float32), targets=CLASSES),
         "'images' must be uint8 [N, C, H, W] with C 1 or 3, is float32 [60, 1, 4, 5]"),
        (saved(images=IMAGES[:, 0], targets=CLASSES),
         "'images' must be uint8 [N, C, H, W] with C 1 or 3, is uint8 [60, 4, 5]"),
        (saved(images=IMAGES, targets=CLASSES[:9]), "'targets' has 9 rows for 60 images"),
        (saved(images=IMAGES, targets=NUMBERS * np.nan),
         "'targets' must be classes, integers [N], or finite floats [N] or [N, T]; is float64 [60, 2]"),
        (saved(images=IMAGES, targets=CLASSES - 1), "classes must be numbered from 0 to 1, they are -1 to 1"),
        (saved(images=IMAGES, targets=CLASSES * 2), "class 1 of 5 has no image"),
        (saved(images=IMAGES, targets=CLASSES, labels=np.array(["a", "b", "a"])),
         "'labels' must be 3 different texts, one for each class or target"),
        (saved(images=IMAGES, targets=np.array([{}] * 60)),
         "'set.npz' is no .npz of arrays, or damaged: 'targets.npy' holds Python objects, which are not read"),
        (archive(images=lying_header()),
         "'set.npz' is no .npz of arrays, or damaged: 'images.npy' has another size than its header says"),
        (lambda path: path.write_bytes(b"PK\3\4" + b"x" * 99), "'set.npz' is no .npz of arrays, or damaged: File is not a zip file"),
        (saved(images=IMAGES, targets=CLASSES * 0), "needs at least two classes, has 0"),
        (saved(images=IMAGES[:3], targets=NUMBERS[:3]),
         "3 images are too few: 1 to train on, 1 to validate and 1 to test; needs at least 2, 1 and 1"),
        (saved(images=IMAGES, targets=NUMBERS * 1e300),
         "'targets' must be classes, integers [N], or finite floats [N] or [N, T]; is float64 [60, 2]"),
        (saved(images=IMAGES[:4], targets=CLASSES[:4]),
         "3 classes with too few images to train on and to cut splits from, each needs 3: '0' (2), '1' (1), '2' (1)"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, write: Callable[[Path], None], text: str
) -> None:
    monkeypatch.chdir(tmp_path)
    write(Path("set.npz"))
    with pytest.raises(StageError) as caught:
        sources.describe(DataSettings(source="arrays:set.npz"))
    assert str(caught.value) == text


def test_keys_that_do_not_fit_are_named(tmp_path: Path) -> None:
    np.savez(tmp_path / "set.npz", train_images=IMAGES, train_targets=CLASSES, test_images=IMAGES, test_targets=CLASSES)
    with pytest.raises(StageError, match="the source brings its own test split; leave it out"):
        sources.describe(DataSettings(source=f"arrays:{tmp_path}/set.npz", test=0.2))
    (fault,) = sources.faults(DataSettings(source="arrays:none.npz"))
    assert fault == (("source",), "there is no 'none.npz'")
    content = read_array_file(tmp_path / "set.npz")
    assert content.splits.tolist() == [0] * 60 + [2] * 60


def test_sorted_classes_may_be_stored_small(tmp_path: Path) -> None:
    images = DRAW.integers(0, 256, (160_000, 1, 2, 2), dtype=np.uint8)
    np.savez_compressed(tmp_path / "set.npz", images=images, targets=np.sort(np.arange(160_000) % 10))
    assert len(read_array_file(tmp_path / "set.npz").targets) == 160_000
