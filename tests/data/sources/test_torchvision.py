"""torchvision's sets, from real files in a folder; nothing is downloaded here."""

from __future__ import annotations

import gzip
import struct
import tracemalloc
from pathlib import Path
from types import SimpleNamespace
from urllib.error import URLError

import numpy as np
import pytest
import torch

from coc_cli.data import sources
from coc_cli.data.reading import fitted
from coc_cli.data.settings import DataSettings
from coc_cli.data.sources.torchvision import TABLE, _arrays
from coc_cli.errors import StageError


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import torchvision

    def offline(*_: object) -> None:
        raise URLError("no network")

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(torchvision.datasets.FashionMNIST, "download", offline)


def idx(array: np.ndarray) -> bytes:
    """Encode as the idx format says: type 8 is unsigned bytes, then the number of axes and each one's length."""
    return struct.pack(">BBBB", 0, 0, 8, array.ndim) + struct.pack(f">{array.ndim}I", *array.shape) + array.tobytes()


def write_set(root: Path, classes: int = 10, size: int = 28) -> tuple[np.ndarray, np.ndarray]:
    """Write 100 images to train on and 40 to test; give those to test and their classes."""
    generator = np.random.default_rng(0)
    folder = root / "FashionMNIST/raw"
    folder.mkdir(parents=True)
    for name, count in (("train", 100), ("t10k", 40)):
        images = generator.integers(0, 256, (count, size, size), dtype=np.uint8)
        labels = (np.arange(count) % classes).astype(np.uint8)
        (folder / f"{name}-images-idx3-ubyte").write_bytes(idx(images))
        (folder / f"{name}-labels-idx1-ubyte").write_bytes(idx(labels))
    return images, labels


def settings(**keys: object) -> DataSettings:
    return DataSettings(source="torchvision:FashionMNIST", **keys)  # type: ignore[arg-type]


def test_the_files_are_read_and_split() -> None:
    images, labels = write_set(Path("data"))
    data = sources.read(settings(validation=0.2), 1, cache=Path("unused"))
    assert [len(split) for split in data.splits] == [80, 20, 40]
    assert np.array_equal(next(data.test.batches(40))[0][:, 0].numpy(), images)
    assert data.test.targets.tolist() == labels.tolist()
    assert data.info.labels[:2] == ("T-shirt/top", "Trouser")
    assert data.validation.targets.bincount().tolist() == [2] * 10
    assert data.info.mean == (round(float((next(data.train.batches(80))[0].double() / 255).mean()), 4),)
    other = sources.read(settings(validation=0.2), 2, cache=Path("unused"))
    assert data.fingerprint() != other.fingerprint()


def test_a_root_a_size_colour_and_a_limit() -> None:
    write_set(Path("elsewhere"))
    asked = settings(root="elsewhere", size=(8, 6), channels=3, limit=20)
    data = sources.read(asked, 1, cache=Path("unused"))
    assert [len(split) for split in data.splits] == [20, 10, 20]
    assert data.train.targets.bincount().tolist() == [2] * 10
    assert tuple(data.train.images.shape[1:]) == data.info.shape == sources.describe(asked).shape == (3, 8, 6)


def test_what_is_not_there_and_cannot_be_downloaded() -> None:
    with pytest.raises(StageError) as caught:
        sources.read(settings(), 0, cache=Path("unused"))
    assert caught.value.what == (
        "FashionMNIST is not in 'data/FashionMNIST/raw', or damaged, and cannot be downloaded: <urlopen error no network>;"
        " put its files there by hand"
    )


@pytest.mark.parametrize("wrong", [{"classes": 12}, {"size": 8}])
def test_files_of_another_form(wrong: dict[str, int]) -> None:
    write_set(Path("data"), **wrong)
    with pytest.raises(StageError, match="'data/FashionMNIST/raw' is damaged: it holds 100 images"):
        sources.read(settings(), 0, cache=Path("unused"))


@pytest.mark.parametrize("name", ["CIFAR10", "SVHN"])
def test_images_of_either_layout(name: str) -> None:
    """CIFAR's are [N, H, W, C] with a list of `targets`, SVHN's are [N, C, H, W] with `labels`."""
    images = np.random.default_rng(0).integers(0, 256, (4, 3, 32, 32), dtype=np.uint8)
    held = {"data": images.transpose(0, 2, 3, 1), "targets": [3, 0, 9, 1]}
    if name == "SVHN":
        held = {"data": images, "labels": np.array([3, 0, 9, 1])}
    found, classes = _arrays(SimpleNamespace(**held), DataSettings(source=f"torchvision:{name}"), Path("data"))
    assert np.array_equal(found, images)
    assert classes.tolist() == [3, 0, 9, 1]


@pytest.mark.parametrize("name", TABLE)
def test_the_table_names_what_torchvision_has(name: str) -> None:
    import torchvision

    assert issubclass(getattr(torchvision.datasets, name), torch.utils.data.Dataset)
    info = sources.describe(DataSettings(source=f"torchvision:{name}"))
    assert (info.validation_images, len(info.labels)) == (
        int(TABLE[name].training_images * 0.1 + 0.5),
        10 ** (2 if name == "CIFAR100" else 1),
    )


def test_colour_to_grey_and_smaller_is_nearly_what_pillow_does() -> None:
    from PIL import Image

    image = torch.randint(0, 256, (1, 3, 9, 11), dtype=torch.uint8)
    picture = Image.fromarray(image[0].permute(1, 2, 0).numpy())
    grey = fitted(image, settings(channels=1))
    assert np.array_equal(grey[0, 0].numpy(), np.asarray(picture.convert("L")))
    small = fitted(image, settings(size=(4, 5)))[0].permute(1, 2, 0).int()
    expected = np.asarray(picture.resize((5, 4), Image.Resampling.BILINEAR)).astype(np.int64)
    assert np.abs(small.numpy() - expected).max() <= 1


def packed(root: Path, *, into: str = "FashionMNIST/raw") -> None:
    """Replace the files below a root by .gz of them, somewhere below it, with checksums of their own."""
    folder = root / "FashionMNIST/raw"
    (root / into).mkdir(exist_ok=True, parents=True)
    for path in list(folder.iterdir()):
        (root / into / f"{path.name}.gz").write_bytes(gzip.compress(path.read_bytes(), 1, mtime=7))
        path.unlink()


@pytest.mark.parametrize("into", ["FashionMNIST/raw", "."])
def test_files_that_were_packed_again_are_taken_by_what_they_hold(into: str) -> None:
    write_set(Path("data"))
    plain = sources.read(settings(), 1, cache=Path("unused"))
    packed(Path("data"), into=into)
    data = sources.read(settings(), 1, cache=Path("unused"))
    assert data.fingerprint() == plain.fingerprint()
    assert data.info == plain.info


IMAGES = "train-images-idx3-ubyte.gz"
SOUND = idx(np.zeros((5, 28, 28), dtype=np.uint8))


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"no gzip", "Not a gzipped file (b'no')"),
        (gzip.compress(SOUND)[:-20], "Compressed file ended before the end-of-stream marker was reached"),
        (gzip.compress(SOUND[:100]), "it should hold 3,920 bytes (5x28x28), but holds only 84"),
        (gzip.compress(SOUND + b"x"), "it should hold 3,920 bytes (5x28x28), but holds more"),
        (gzip.compress(b"\0\0\x0d\x03" + SOUND[4:]), "it is no idx file of unsigned bytes with 3 axes"),
        (gzip.compress(SOUND[:7]), "it is no idx file of unsigned bytes with 3 axes"),
        (
            gzip.compress(SOUND[:4] + struct.pack(">3I", 2**31, 28, 28)),
            "it says that it holds 2147483648x28x28, which is more than 60000x28x28",
        ),
    ],
    ids=["no gzip", "cut", "too short", "too long", "other kind", "no header", "too many"],
)
def test_a_damaged_file_is_named_in_one_line(content: bytes, why: str) -> None:
    write_set(Path("data"))
    packed(Path("data"))
    (Path("data/FashionMNIST/raw") / IMAGES).write_bytes(content)
    with pytest.raises(StageError) as caught:
        sources.read(settings(), 0, cache=Path("unused"))
    place = f"'data/FashionMNIST/raw/{IMAGES}' is damaged"
    assert caught.value.what == f"{place}: {why}; put a sound copy there"


def test_a_file_that_swells_is_not_read_through() -> None:
    """Thirty megabytes of zeros behind a sound header: what is read is bounded by what the header says."""
    write_set(Path("data"))
    packed(Path("data"))
    with gzip.open(Path("data/FashionMNIST/raw") / IMAGES, "wb", compresslevel=1) as file:
        file.write(SOUND)
        for _ in range(30):
            file.write(bytes(1 << 20))
    tracemalloc.start()
    with pytest.raises(StageError, match="but holds more"):
        sources.read(settings(), 0, cache=Path("unused"))
    assert tracemalloc.get_traced_memory()[1] < 4 << 20
    tracemalloc.stop()


def test_labels_that_do_not_belong_to_the_images() -> None:
    write_set(Path("data"))
    (Path("data/FashionMNIST/raw") / "train-labels-idx1-ubyte").write_bytes(idx(np.zeros(7, dtype=np.uint8)))
    with pytest.raises(StageError, match=r"is damaged: it holds 100 images .* with 7 labels"):
        sources.read(settings(), 0, cache=Path("unused"))
