"""Splits, batches and augmentation."""

from __future__ import annotations

from pathlib import Path

import torch

from coc_cli.data import sources
from coc_cli.data.augmentation import augmented, rotated
from coc_cli.data.images import Data, Split
from coc_cli.data.settings import Augment, DataSettings
from coc_cli.data.sources.digits import read_digits


def test_the_digits_are_split_by_class_without_overlap() -> None:
    data = read_digits(5)
    assert [len(split) for split in data.splits] == [1077, 360, 360]
    for split in data.splits:
        counts = split.targets.bincount(minlength=10) / len(split)
        assert (counts - 0.1).abs().max() < 0.01
    every = [image.tobytes() for s in data.splits for image in s.images.numpy()]
    whole = [image.tobytes() for s in read_digits(6).splits for image in s.images.numpy()]
    assert sorted(every) == sorted(whole)
    assert len(every) == 1797
    assert data.fingerprint() == read_digits(5).fingerprint() != read_digits(6).fingerprint()


def test_the_digits_are_what_their_description_says() -> None:
    data, info = read_digits(0), sources.describe(DataSettings(source="digits"))
    images = torch.cat([s.images for s in data.splits]) / 255
    assert (tuple(images.shape[1:]), int(data.train.targets.max()) + 1) == (info.shape, len(info.labels))
    assert abs(float(images.mean()) - info.mean[0]) < 1e-3
    assert abs(float(images.std()) - info.std[0]) < 1e-3


def test_an_epoch_sees_every_image_once_in_an_order_of_its_seed(data: Data) -> None:
    def order(seed: int) -> list[int]:
        return torch.cat(list(data.train.shuffled(36, torch.Generator().manual_seed(seed)))).tolist()

    assert sorted(order(1)) == list(range(96))
    assert order(1) == order(1) != order(2)
    lone = Split(data.train.images[:33], data.train.targets[:33])
    assert [len(batch) for batch in lone.shuffled(32, torch.Generator())] == [32]


def test_shifts_move_every_image_by_whole_pixels_within_the_limit() -> None:
    image = torch.zeros(1, 1, 8, 8, dtype=torch.uint8)
    image[0, 0, 3, 4] = 200
    made = augmented(image.expand(500, -1, -1, -1), Augment(shift=2), torch.Generator().manual_seed(0))
    places = {tuple(place) for place in (made == 200).nonzero()[:, 2:].tolist()}
    assert places == {(y, x) for y in range(1, 6) for x in range(2, 7)}
    assert (made.sum((1, 2, 3)) == 200).all()


def test_flips_mirror_about_half() -> None:
    images = torch.arange(64, dtype=torch.uint8).view(1, 1, 8, 8).repeat(400, 1, 1, 1)
    made = augmented(images, Augment(flip=True), torch.Generator().manual_seed(0))
    mirrored = (made == images.flip(3)).flatten(1).all(1)
    assert (mirrored | (made == images).flatten(1).all(1)).all()
    assert 150 < int(mirrored.sum()) < 250


def test_a_quarter_turn_is_a_quarter_turn() -> None:
    images = torch.randint(0, 256, (3, 2, 8, 8), dtype=torch.uint8)
    turned = rotated(images, torch.full((3,), torch.pi / 2))
    assert torch.equal(turned, torch.rot90(images, 1, (2, 3))) or torch.equal(turned, torch.rot90(images, -1, (2, 3)))
    assert torch.equal(rotated(images, torch.zeros(3)), images)


def test_images_held_out_are_kept_from_training_and_change_nothing_else() -> None:
    plain, data = (
        sources.read(DataSettings(source="digits", holdout=share), 3, cache=Path("unused")) for share in (None, 0.2)
    )
    assert plain.holdout is None
    assert data.holdout is not None
    assert [len(data.train), len(data.holdout)] == [862, 215]
    assert data.holdout.targets.bincount(minlength=10).min() >= 20, "of every class"
    for mine, theirs in ((data.validation, plain.validation), (data.test, plain.test)):
        assert torch.equal(mine.targets, theirs.targets)
    parts = [
        image.tobytes()
        for split in (data.train, data.holdout)
        for image in split.take(torch.arange(len(split))).numpy()
    ]
    whole = [image.tobytes() for image in plain.train.take(torch.arange(1077)).numpy()]
    assert sorted(parts) == sorted(whole)
    assert data.fingerprint() != plain.fingerprint()
