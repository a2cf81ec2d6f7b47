"""From settings to splits: what `DataSettings.read` does, with torch."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from coc_cli.data.cut import HOLDOUT, TEST, TRAIN, amount, cut_all, draw
from coc_cli.data.decode import decode
from coc_cli.data.digits import read_digits, read_rotated_digits
from coc_cli.data.images import Data, Split
from coc_cli.data.listing import TEST_SHARE, cut_listing, describe
from coc_cli.data.source import DataSettings, Progress
from coc_cli.data.vision import read_files

LEAST_STD = 1 / 255  # for images that are all the same
FIT_CHUNK = 1024  # images resized at a time
LUMA = (19595, 38470, 7471)  # 65536ths of red, green and blue in grey (ITU-R BT.601), as Pillow has them


def read(settings: DataSettings, seed: int, cache: Path, progress: Progress | None) -> Data:
    """Read, fit and split a source; see `DataSettings.read`."""
    return _held_out(_read(settings, seed, cache, progress), settings.holdout, seed)


def _read(settings: DataSettings, seed: int, cache: Path, progress: Progress | None) -> Data:
    if settings.kind == "torchvision":
        data = _read_vision(settings, seed)
    elif settings.kind == "digits":
        data = read_digits(seed, settings.validation_share)
    elif settings.kind == "digits-rotation":
        data = read_rotated_digits(seed, settings.validation_share)
    else:
        return _read_listing(settings, seed, cache, progress)
    return _measured(_limited(_fitted(data, settings), settings, seed))


def _read_listing(settings: DataSettings, seed: int, cache: Path, progress: Progress | None) -> Data:
    listing = settings.listing()
    info = describe(settings, listing)
    parts = cut_listing(settings, listing, seed)
    wanted = np.sort(np.concatenate(parts))
    decoded = decode(
        listing,
        wanted,
        info.shape,
        resize=settings.size is not None,
        grey_only=settings.channels is None and info.shape[0] == 1,
        cache=cache,
        most_bytes=int(settings.memory * _ram_bytes()),
        progress=progress,
    )
    images = torch.from_numpy(decoded.images)
    splits = []
    for part in parts:
        rows, targets = torch.from_numpy(np.searchsorted(wanted, part)), torch.from_numpy(listing.targets[part])
        splits.append(Split(images, targets, rows, decoded.checksum, decoded.mapped))
    mean, std = _statistics(decoded.sums[np.searchsorted(wanted, parts[TRAIN])], info.shape)
    return Data(*splits, info=replace(info, mean=mean, std=std))


def _ram_bytes() -> int:
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def _statistics(sums: NDArray[np.int64], shape: tuple[int, int, int]) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Give mean and standard deviation by channel, of pixels scaled to 0..1, from the sums [N, 2, C] of each image."""
    pixels = len(sums) * shape[1] * shape[2]
    first, second = (total / pixels for total in sums.sum(0).astype(np.float64))
    std = np.sqrt(np.maximum(0, second - first**2)) / 255
    mean = tuple(round(float(value), 4) for value in first / 255)
    return mean, tuple(round(max(LEAST_STD, float(value)), 4) for value in std)


def _measured(data: Data) -> Data:
    """Fill in mean and standard deviation of the training images where they are not known."""
    if data.info.mean is not None:
        return data
    sums = []
    for images, _ in data.train.batches(FIT_CHUNK):
        wide = images.flatten(2).long()
        sums.append(torch.stack([wide.sum(2), (wide * wide).sum(2)], 1))
    mean, std = _statistics(torch.cat(sums).numpy(), data.info.shape)
    return replace(data, info=replace(data.info, mean=mean, std=std))


def _limited(data: Data, settings: DataSettings, seed: int) -> Data:
    """Keep at most so many images of each split as the settings say."""
    if settings.limit is None:
        return data
    splits = [
        _drawn(split, data.info.task, settings.limit, [seed, number, settings.limit])
        for number, split in enumerate(data.splits)
    ]
    return Data(*splits, info=data.info)


def _drawn(split: Split, task: str, limit: int, seed: list[int]) -> Split:
    return split if len(split) <= limit else _parted(split, task, limit, seed)[1]


def _parted(split: Split, task: str, total: int, seed: list[int], *, leave: int = 0) -> tuple[Split, Split]:
    """Part a split into the rest, with `leave` images of each class at least, and `total` drawn images."""
    classes = split.targets.numpy() if task == "classification" else None
    parts = draw(np.arange(len(split)), classes, total, seed, leave=leave)
    rest, drawn = (torch.from_numpy(rows) for rows in parts)
    return split.some(rest), split.some(drawn)


def _held_out(data: Data, share: float | None, seed: int) -> Data:
    """Set a share of the training images apart, last of all: the other splits are the same with and without."""
    if share is None:
        return data
    total = amount(len(data.train), share, 1)
    train, holdout = _parted(data.train, data.info.task, total, [seed, HOLDOUT], leave=1)
    return replace(data, train=train, holdout=holdout)


def _read_vision(settings: DataSettings, seed: int) -> Data:
    files = read_files(settings)
    images, classes = files.train
    given = np.full(len(classes), TRAIN, dtype=np.int8)
    # A last row stands for the test split, which is whole already.
    parts = cut_all(
        np.append(given, np.int8(TEST)),
        np.append(classes, 0),
        validation=settings.validation_share,
        test=TEST_SHARE,
        limit=None,
        seed=seed,
    )
    shared = torch.from_numpy(images)
    train, validation = (
        Split(shared, torch.from_numpy(classes[part]), torch.from_numpy(part)) for part in parts[:TEST]
    )
    test = Split(torch.from_numpy(files.test[0]), torch.from_numpy(files.test[1]))
    return Data(train, validation, test, info=replace(settings.describe(), labels=files.labels))


def _fitted(data: Data, settings: DataSettings) -> Data:
    """Bring images that are in memory to the size and channels that are asked for."""
    made = {id(images): fitted(images, settings) for images in {split.images for split in data.splits}}
    splits = [replace(split, images=made[id(split.images)]) for split in data.splits]
    return Data(*splits, info=replace(settings.describe(), labels=data.info.labels))


def fitted(images: Tensor, settings: DataSettings) -> Tensor:
    """Give uint8 images [N, C, H, W] in the channels and the size that settings ask for, bilinear with antialiasing."""
    channels, size = settings.channels or images.shape[1], settings.height_width
    if channels > images.shape[1]:
        images = images.expand(-1, channels, -1, -1).contiguous()
    elif channels < images.shape[1]:
        weighted = [images[:, i].int() * part for i, part in enumerate(LUMA)]
        images = ((torch.stack(weighted).sum(0) + 32768) >> 16).to(torch.uint8)[:, None]
    if size is None or size == tuple(images.shape[2:]):
        return images
    parts = [
        F.interpolate(part.float(), size=size, mode="bilinear", antialias=True).round_().clamp_(0, 255).to(torch.uint8)
        for part in images.split(FIT_CHUNK)
    ]
    return torch.cat(parts)
