"""torchvision's small data sets: what is known of each, and reading its files. No torch until `read`."""

from __future__ import annotations

import contextlib
import io
from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from coc_cli.data.info import DataInfo
from coc_cli.data.settings import DataSettings
from coc_cli.data.sources.source import COMMON_KEYS, Source
from coc_cli.data.splits import TEST, TRAIN
from coc_cli.errors import StageError, did_you_mean

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from coc_cli.data.decode import Progress
    from coc_cli.data.images import Data
    from coc_cli.data.splitting import Rows

ROOT = "data"
LONGEST_REASON = 160  # characters; torchvision reports every mirror that it tried
NO_TEST = 0.0  # for `cut_all`, which cuts no test split where there is one


@dataclass(frozen=True)
class VisionSet:
    """One data set: shape [C, H, W], classes, images to train on, and where its files lie below the root."""

    shape: tuple[int, int, int]
    classes: int
    training_images: int
    folder: str
    test_images: int = 10_000
    is_named: bool = False  # its splits are requested as split="train", not train=True


TABLE = {
    "CIFAR10": VisionSet((3, 32, 32), 10, 50_000, "cifar-10-batches-py"),
    "CIFAR100": VisionSet((3, 32, 32), 100, 50_000, "cifar-100-python"),
    "SVHN": VisionSet((3, 32, 32), 10, 73_257, "", 26_032, is_named=True),
    "STL10": VisionSet((3, 96, 96), 10, 5_000, "stl10_binary", 8_000, is_named=True),
    "MNIST": VisionSet((1, 28, 28), 10, 60_000, "MNIST/raw"),
    "FashionMNIST": VisionSet((1, 28, 28), 10, 60_000, "FashionMNIST/raw"),
    "KMNIST": VisionSet((1, 28, 28), 10, 60_000, "KMNIST/raw"),
}


class Torchvision(Source):
    """A data set of torchvision by name, with a test split of its own."""

    name = "torchvision"
    summary = f"a small data set of torchvision, downloaded where there is a network: {', '.join(TABLE)}"
    place = "NAME"
    takes = (*COMMON_KEYS, "root")
    labels_known_early = False  # only the files name the classes

    def place_fault(self, place: str) -> str | None:
        """Return a fault if a name is not in the table."""
        return None if place in TABLE else f"no such data set '{place}'; {did_you_mean(place, TABLE)}"

    def describe(self, settings: DataSettings) -> DataInfo:
        """Describe the data set from the table; classes are numbered until the files are read."""
        from coc_cli.data.splitting import amount

        entry = TABLE[settings.place]
        shape = (settings.channels or entry.shape[0], *(settings.height_width or entry.shape[1:]))
        count = amount(entry.training_images, self.validation_fraction(settings), entry.classes)
        count = min(count, settings.limits[1] or count)
        labels, images = tuple(map(str, range(entry.classes))), entry.training_images + entry.test_images
        return DataInfo(shape, labels, "classification", None, None, count, images)

    def read(self, settings: DataSettings, seed: int, cache: Path, progress: Progress | None) -> Data:  # noqa: ARG002
        """Read the files, downloading them where there is a network, and cut validation off; raises `StageError`."""
        from coc_cli.data.reading import read_arrays

        files, info = read_files(settings), self.describe(settings)
        data = _split(files, info, _cut(files.train[1], self.validation_fraction(settings), seed))
        return read_arrays(data, info, settings, seed)


@dataclass(frozen=True)
class VisionFiles:
    """Images uint8 [N, C, H, W] and classes int64 [N] of both splits, and the classes' names."""

    train: tuple[NDArray[np.uint8], NDArray[np.int64]]
    test: tuple[NDArray[np.uint8], NDArray[np.int64]]
    labels: tuple[str, ...]


def _cut(classes: NDArray[np.int64], validation: float, seed: int) -> tuple[Rows, Rows]:
    """Return the rows of train and validation among images to train on, of classes [N]."""
    import numpy as np

    from coc_cli.data.splitting import cut_all

    splits = np.full(len(classes), TRAIN, dtype=np.int8)
    # A last row stands for the test split, which is complete already.
    splits, classes = np.append(splits, np.int8(TEST)), np.append(classes, 0)
    train, valid, _ = cut_all(splits, classes, validation=validation, test=NO_TEST, seed=seed)
    return train, valid


def _split(files: VisionFiles, info: DataInfo, parts: tuple[Rows, Rows]) -> Data:
    import torch

    from coc_cli.data.images import Data, Split

    images, classes = files.train
    shared = torch.from_numpy(images)
    train, validation = (Split(shared, torch.from_numpy(classes[part]), torch.from_numpy(part)) for part in parts)
    test = Split(torch.from_numpy(files.test[0]), torch.from_numpy(files.test[1]))
    return Data(train, validation, test, info=replace(info, labels=files.labels))


def read_files(settings: DataSettings) -> VisionFiles:
    """Read a data set, downloading it where there is a network; raises `StageError`."""
    entry, root = TABLE[settings.place], Path(settings.root or ROOT)
    train, test = _idx_sets(settings.place, root) or (
        _opened(settings.place, root, is_train=is_train) for is_train in (True, False)
    )
    names = [str(name) for name in getattr(train, "classes", range(entry.classes))]
    labels = tuple(names) if len(names) == entry.classes else tuple(map(str, range(entry.classes)))
    return VisionFiles(_arrays(train, settings, root), _arrays(test, settings, root), labels)


def _idx_sets(name: str, root: Path) -> list[SimpleNamespace] | None:
    """Return both splits as torchvision's sets have them, of idx files below the root or in it; None without such."""
    from coc_cli.data.sources.idx import idx_files, read_idx

    entry = TABLE[name]
    files = idx_files(root / entry.folder) or idx_files(root) if entry.folder.endswith("/raw") else None
    if files is None:
        return None
    sets = []
    for images, labels, count in zip(files[::2], files[1::2], (entry.training_images, entry.test_images), strict=True):
        data, targets = read_idx(images, 3, (count, *entry.shape[1:])), read_idx(labels, 1, (count,))
        classes = _dataset(name).classes
        sets.append(SimpleNamespace(data=data, targets=targets, classes=classes))
    return sets


def _dataset(name: str) -> Any:
    import torchvision.datasets

    return getattr(torchvision.datasets, name)


def _opened(name: str, root: Path, *, is_train: bool) -> Any:
    entry, dataset = TABLE[name], _dataset(name)
    split: dict[str, Any] = {"split": "train" if is_train else "test"} if entry.is_named else {"train": is_train}
    # Not there, or damaged: torchvision says it in many ways, and both ask for a download.
    with contextlib.suppress(Exception):
        return dataset(str(root), **split, download=False)
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            return dataset(str(root), **split, download=True)
    except Exception as error:
        why = " ".join(str(error).split())[:LONGEST_REASON] or type(error).__name__
        what = f"{name} is not in '{root / entry.folder}', or damaged, and cannot be downloaded: {why}"
        raise StageError(f"{what}; put its files there by hand", "source") from error


def _arrays(dataset: Any, settings: DataSettings, root: Path) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Return images [N, C, H, W] and classes [N] of a torchvision data set, whatever it calls them.

    Raises `StageError` if they are not of the table's form.
    """
    import numpy as np

    entry = TABLE[settings.place]
    classes = np.asarray(dataset.targets if hasattr(dataset, "targets") else dataset.labels, dtype=np.int64)
    images = np.asarray(dataset.data)
    if images.ndim == 3:  # noqa: PLR2004  (grey images have no axis of channels)
        images = images[:, None]
    elif images.shape[1] != entry.shape[0]:
        images = images.transpose(0, 3, 1, 2)
    wrong = int(((classes < 0) | (classes >= entry.classes)).sum())
    if wrong or len(images) != len(classes) or images.shape[1:] != entry.shape or not len(images):
        form = (
            f"{len(images)} images {tuple(images.shape[1:])} with {len(classes)} labels, {wrong} of them out of range"
        )
        raise StageError(f"'{root / entry.folder}' is damaged: it holds {form}; remove it", "source")
    return np.ascontiguousarray(images), classes
