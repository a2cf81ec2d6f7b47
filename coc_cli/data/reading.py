"""From arrays to splits on which a network is trained: cut, resized, measured; with torch."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from coc_cli.data.balance import balanced_weights, tenths
from coc_cli.data.decode import Form, Progress, decode
from coc_cli.data.images import Data, Split
from coc_cli.data.info import DataInfo
from coc_cli.data.listing import Listing
from coc_cli.data.settings import DataSettings
from coc_cli.data.splits import TRAIN
from coc_cli.data.splitting import Rows, draw, draw_holdout
from coc_cli.files import budget

MIN_STD = 1 / 255  # for images that are all the same
FIT_CHUNK = 1024  # images resized at a time
LUMA = (19595, 38470, 7471)  # 65536ths of red, green and blue in grey (ITU-R BT.601), as Pillow has them


def read_listing(
    listing: Listing,
    info: DataInfo,
    parts: tuple[Rows, Rows, Rows],
    settings: DataSettings,
    cache: Path,
    progress: Progress | None,
) -> Data:
    """Decode the images of the rows of train, validation and test; raises `StageError` with all that are broken."""
    rows = np.sort(np.concatenate(parts))
    form = Form(info.shape, settings.size is not None, settings.channels is None and info.shape[0] == 1)
    decoded = decode(listing, rows, form, cache=cache, most_bytes=most_bytes(settings), progress=progress)
    images = torch.from_numpy(decoded.images)
    splits, groups = [], listing.group_numbers
    for part in parts:
        places, targets = torch.from_numpy(np.searchsorted(rows, part)), torch.from_numpy(listing.targets[part])
        own = None if groups is None else torch.from_numpy(groups[part])
        splits.append(Split(images, targets, places, decoded.checksum, decoded.mapped, own))
    mean, std = _statistics(decoded.sums[np.searchsorted(rows, parts[TRAIN])], info.shape)
    return Data(*splits, info=replace(info, mean=mean, std=std))


def read_arrays(data: Data, info: DataInfo, settings: DataSettings, seed: int) -> Data:
    """Return data in memory as the settings request them: size, channels and at most `limit` images a split.

    `info` describes the result; its labels are those of `data`, and its mean and deviation are measured if unknown.
    """
    return _measured(_limited(_fitted(data, info, settings), settings, seed))


def held_out(data: Data, fraction: float | None, seed: int) -> Data:
    """Split a fraction off the training images, last of all: the other splits are the same with and without."""
    if fraction is None:
        return data
    whole = data.train
    groups = None if whole.groups is None else whole.groups.numpy()
    parts = draw_holdout(_classes(whole, data.info.task), fraction, seed, len(whole), groups)
    train, holdout = (whole.some(torch.from_numpy(rows)) for rows in parts)
    return replace(data, train=train, holdout=holdout)


def balanced(data: Data, balance: float) -> Data:
    """Return the data with weights by which an epoch draws the training images; the same for a balance of 0."""
    if not balance:
        return data
    targets, is_number = data.train.targets.numpy(), data.info.task == "regression"
    weights = balanced_weights(tenths(targets[:, 0]) if is_number else targets, balance, bounded=is_number)
    return replace(data, train=replace(data.train, weights=torch.from_numpy(weights)))


def most_bytes(settings: DataSettings) -> int:
    """Return how many bytes of decoded images are held in memory, at most."""
    return int(settings.memory * os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))


def _statistics(sums: NDArray[np.int64], shape: tuple[int, int, int]) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Return each channel's mean and standard deviation, of pixels scaled to 0..1, from each image's sums [N, 2, C]."""
    pixels = len(sums) * shape[1] * shape[2]
    first, second = (total / pixels for total in sums.sum(0).astype(np.float64))
    std = np.sqrt(np.maximum(0, second - first**2)) / 255
    mean = tuple(round(float(value), 4) for value in first / 255)
    return mean, tuple(round(max(MIN_STD, float(value)), 4) for value in std)


def _measured(data: Data) -> Data:
    """Return the data with mean and standard deviation of the training images, measured where unknown."""
    if data.info.mean is not None:
        return data
    sums = []
    for images, _ in data.train.batches(FIT_CHUNK):
        wide = images.flatten(2).long()
        sums.append(torch.stack([wide.sum(2), (wide * wide).sum(2)], 1))
    mean, std = _statistics(torch.cat(sums).numpy(), data.info.shape)
    return replace(data, info=replace(data.info, mean=mean, std=std))


def _limited(data: Data, settings: DataSettings, seed: int) -> Data:
    """Return the data with at most as many images in each split as the settings' `limit` allows."""
    splits = [
        _drawn(split, data.info.task, limit, [seed, number])
        for number, (split, limit) in enumerate(zip(data.splits, settings.limits, strict=True))
    ]
    return Data(*splits, info=data.info)


def _drawn(split: Split, task: str, limit: int | None, seed: list[int]) -> Split:
    if limit is None or len(split) <= limit:
        return split
    rows = draw(np.arange(len(split)), _classes(split, task), limit, [*seed, limit])[1]
    return split.some(torch.from_numpy(rows))


def _classes(split: Split, task: str) -> NDArray[np.int64] | None:
    return split.targets.numpy() if task == "classification" else None


def _fitted(data: Data, info: DataInfo, settings: DataSettings) -> Data:
    """Return data with the images in the requested size and channels."""
    by_id = {id(images): fitted(images, settings) for images in {split.images for split in data.splits}}
    splits = [replace(split, images=by_id[id(split.images)]) for split in data.splits]
    return Data(*splits, info=replace(info, labels=data.info.labels))


def fitted(images: Tensor, settings: DataSettings) -> Tensor:
    """Return uint8 images [N, C, H, W] in the requested channels and size, resized bilinearly with antialiasing."""
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
        for part in images.split(max(1, min(FIT_CHUNK, budget.CHUNK_BYTES // (channels * size[0] * size[1]))))
    ]
    return torch.cat(parts)
