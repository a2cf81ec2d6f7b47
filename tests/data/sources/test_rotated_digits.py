"""The turned digits: each angle is the one that was turned by."""

from __future__ import annotations

import math
from pathlib import Path

import torch

from coc_cli.data import sources
from coc_cli.data.augmentation import rotated
from coc_cli.data.settings import DataSettings
from coc_cli.data.sources.digits import read_digits

SETTINGS = DataSettings(source="digits-rotation")


def test_each_image_is_its_digit_turned_by_its_target() -> None:
    data, digits = sources.read(SETTINGS, 3, cache=Path("unused")), read_digits(3)
    assert (data.info.task, data.info.labels) == ("regression", ("angle",))
    assert [len(split) for split in data.splits] == [1077 * 8, 360, 360]
    for split, plain, turns in zip(data.splits, digits.splits, (8, 1, 1), strict=True):
        angles = split.targets[:, 0].deg2rad()
        assert torch.equal(split.images, rotated(plain.images.repeat_interleave(turns, 0), angles))


def test_angles_are_uniform_and_of_the_seed() -> None:
    degrees = sources.read(SETTINGS, 3, cache=Path("unused")).train.targets[:, 0]
    assert degrees.dtype == torch.float32
    assert -45 <= float(degrees.min()) < -44.9
    assert 44.9 < float(degrees.max()) <= 45
    share = (degrees < -45 + 30).double().mean()
    assert abs(float(share) - 1 / 3) < 4 * math.sqrt(2 / 9 / len(degrees))
    again, other = (sources.read(SETTINGS, seed, cache=Path("unused")).fingerprint() for seed in (3, 4))
    assert sources.read(SETTINGS, 3, cache=Path("unused")).fingerprint() == again != other


def test_the_description_is_what_is_read() -> None:
    data = sources.read(SETTINGS, 0, cache=Path("unused"))
    info = sources.describe(SETTINGS)
    assert (info.shape, info.validation_images, info.mean) == ((1, 8, 8), 360, None)
    images = data.train.images.double() / 255
    assert data.info.mean == (round(float(images.mean()), 4),)
    assert data.info.std == (round(float(images.std(correction=0)), 4),)
