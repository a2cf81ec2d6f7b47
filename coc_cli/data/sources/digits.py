"""scikit-learn's handwritten digits: 1,797 real 8x8 images, on disk with the package (Alpaydin and Kaynak 1998).

They are classified, or turned by angles that are to be predicted. No torch until they are read.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from coc_cli.data.info import DataInfo
from coc_cli.data.settings import DataSettings
from coc_cli.data.sources.source import KeyFault, Source

if TYPE_CHECKING:
    from coc_cli.data.decode import Progress
    from coc_cli.data.images import Data

IMAGES, REST = 1797, 1437  # all, and what is not test
VALIDATION = 0.25
GREY_STEP = 255 / 16  # the files hold 17 levels, 0..16
PLAIN_SHAPE = (1, 8, 8)
PLAIN_MEAN, PLAIN_STD = (0.3054,), (0.3760,)
MOST_DEGREES = 45
TURNS = 8  # of each training image


class Digits(Source):
    """The digits, by class."""

    name = "digits"
    summary = hint = "scikit-learn's 1,797 handwritten 8x8 digits"
    default_validation = VALIDATION

    def describe(self, settings: DataSettings) -> DataInfo:
        """Describe the digits; mean and deviation are known of the plain ones."""
        shape = _shape(settings)
        mean, std = (PLAIN_MEAN, PLAIN_STD) if shape == PLAIN_SHAPE else (None, None)
        count, labels = self._validation_images(settings), tuple("0123456789")
        return DataInfo(shape, labels, "classification", mean, std, count, IMAGES)

    def read(self, settings: DataSettings, seed: int, cache: Path, progress: Progress | None) -> Data:  # noqa: ARG002
        """Read the digits and split them; see `read_digits`."""
        from coc_cli.data.reading import read_arrays

        data = read_digits(seed, self.validation_fraction(settings))
        return read_arrays(data, self.describe(settings), settings, seed)

    def _validation_images(self, settings: DataSettings) -> int:
        count = -int(-self.validation_fraction(settings) * REST // 1)  # rounded up, as the split does
        return min(count, settings.limits[1] or count)


class RotatedDigits(Digits):
    """The digits, turned; the target is by how many degrees."""

    name = "digits-rotation"
    summary = "the digits, each turned; by which angle is to be predicted"
    hint = "by which angle each is turned"
    augment_safe = True  # what would turn them is refused

    def faults(self, settings: DataSettings) -> Iterator[KeyFault]:
        """Yield the faults of any source, and augmentation that turns images."""
        yield from super().faults(settings)
        turning = [key for key in ("rotate", "flip", "randaugment") if getattr(settings.augment, key)]
        yield from ((("augment", key), "would change the target, the angle; leave it out") for key in turning)

    def describe(self, settings: DataSettings) -> DataInfo:
        """Describe the turned digits."""
        count = self._validation_images(settings)
        train = REST - super().describe(settings.model_copy(update={"limit": None})).validation_images
        return DataInfo(_shape(settings), ("angle",), "regression", None, None, count, IMAGES + (TURNS - 1) * train)

    def read(self, settings: DataSettings, seed: int, cache: Path, progress: Progress | None) -> Data:  # noqa: ARG002
        """Read the digits, split and turn them; see `read_rotated_digits`."""
        from coc_cli.data.reading import read_arrays

        data = read_rotated_digits(seed, self.validation_fraction(settings))
        return read_arrays(data, self.describe(settings), settings, seed)


def _shape(settings: DataSettings) -> tuple[int, int, int]:
    return (settings.channels or PLAIN_SHAPE[0], *(settings.height_width or PLAIN_SHAPE[1:]))


def read_digits(seed: int, validation: float = VALIDATION) -> Data:
    """Read the digits and split them by class: a fifth to test, of the rest that fraction to validate.

    Images are uint8 [N, 1, 8, 8]. The same seed gives the same split.
    """
    import numpy as np
    import torch
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

    from coc_cli.data.images import Data, Split

    images, targets = load_digits(return_X_y=True)
    images = np.rint(images.reshape(-1, *PLAIN_SHAPE) * GREY_STEP).astype(np.uint8)
    rest, test = train_test_split(np.arange(len(targets)), test_size=0.2, random_state=seed, stratify=targets)
    train, validating = train_test_split(rest, test_size=validation, random_state=seed, stratify=targets[rest])
    splits = [Split(torch.from_numpy(images[i]), torch.from_numpy(targets[i])) for i in (train, validating, test)]
    return Data(*splits, info=Digits().describe(DataSettings(source="digits")))


def read_rotated_digits(seed: int, validation: float = VALIDATION) -> Data:
    """Read the same split with each image turned; the target [N, 1] is by how many degrees.

    Angles are uniform to either side, eight for each training image and one for each other.
    """
    import torch

    from coc_cli.data.augmentation import rotated
    from coc_cli.data.images import Data, Split

    data = read_digits(seed, validation)
    generator = torch.Generator().manual_seed(seed)
    splits = []
    for split, turns in ((data.train, TURNS), (data.validation, 1), (data.test, 1)):
        images = split.images.repeat_interleave(turns, 0)
        degrees = (torch.rand(len(images), generator=generator) * 2 - 1) * MOST_DEGREES
        splits.append(Split(rotated(images, degrees.deg2rad()), degrees[:, None]))
    return Data(*splits, info=RotatedDigits().describe(DataSettings(source="digits-rotation")))
