"""scikit-learn's handwritten digits: 1,797 real 8x8 images, on disk with the package (Alpaydin and Kaynak 1998)."""

from __future__ import annotations

import numpy as np
import torch

from coc_cli.data.images import Data, Split, rotated
from coc_cli.data.source import DataSettings

GREY_STEP = 255 / 16  # the files hold 17 levels, 0..16
MOST_DEGREES = 45
TURNS = 8  # of each training image


def read_digits(seed: int, validation: float = 0.25) -> Data:
    """Read the digits and split them by class: a fifth to test, of the rest that share to validate.

    The same seed gives the same split.
    """
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

    images, targets = load_digits(return_X_y=True)
    images = np.rint(images.reshape(-1, 1, 8, 8) * GREY_STEP).astype(np.uint8)
    rest, test = train_test_split(np.arange(len(targets)), test_size=0.2, random_state=seed, stratify=targets)
    train, validating = train_test_split(rest, test_size=validation, random_state=seed, stratify=targets[rest])
    splits = [Split(torch.from_numpy(images[i]), torch.from_numpy(targets[i])) for i in (train, validating, test)]
    return Data(*splits, info=DataSettings(source="digits").describe())


def read_rotated_digits(seed: int, validation: float = 0.25) -> Data:
    """Give the same split with each image turned; the target [N, 1] is by how many degrees.

    Angles are uniform to either side, eight for each training image and one for each other.
    """
    data = read_digits(seed, validation)
    generator = torch.Generator().manual_seed(seed)
    splits = []
    for split, turns in ((data.train, TURNS), (data.validation, 1), (data.test, 1)):
        images = split.images.repeat_interleave(turns, 0)
        degrees = (torch.rand(len(images), generator=generator) * 2 - 1) * MOST_DEGREES
        splits.append(Split(rotated(images, degrees.deg2rad()), degrees[:, None]))
    return Data(*splits, info=DataSettings(source="digits-rotation").describe())
