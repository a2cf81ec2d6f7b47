"""RandAugment: random operations of one strength (Cubuk et al. 2020), a batch at a time.

The operations and their ranges are those of `torchvision.transforms.v2.RandAugment`, which draws for a whole batch at
once; here each image has its own, and all of a batch that have the same one are changed together.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import TypeAlias

import torch
from torch import Tensor
from torchvision.transforms.v2 import functional as F

from coc_cli.data.settings import MOST_MAGNITUDE, RandAugment

Operation: TypeAlias = Callable[[Tensor, float], Tensor]  # of uint8 images [N, C, H, W] and a signed strength, -1 to 1
SHEAR = 0.3  # columns a row, or rows a column
FARTHEST = 150 / 331  # of a shift, in widths or heights


def _shifted(images: Tensor, x: float, y: float) -> Tensor:
    by = [int(FARTHEST * images.shape[3] * x), int(FARTHEST * images.shape[2] * y)]
    made: Tensor = F.affine(images, angle=0.0, translate=by, scale=1.0, shear=[0.0, 0.0])
    return made


def _sheared(images: Tensor, x: float, y: float) -> Tensor:
    degrees = [math.degrees(math.atan(SHEAR * by)) for by in (x, y)]
    made: Tensor = F.affine(images, angle=0.0, translate=[0, 0], scale=1.0, shear=degrees, center=[0, 0])
    return made


def _saturated(images: Tensor, factor: float) -> Tensor:
    return F.adjust_saturation(images, factor) if images.shape[1] > 1 else images


OPERATIONS: Mapping[str, Operation] = MappingProxyType(
    {
        "identity": lambda images, _: images,
        "shear_x": lambda images, by: _sheared(images, by, 0.0),
        "shear_y": lambda images, by: _sheared(images, 0.0, by),
        "shift_x": lambda images, by: _shifted(images, by, 0.0),
        "shift_y": lambda images, by: _shifted(images, 0.0, by),
        "rotate": lambda images, by: F.rotate(images, 30 * by),
        "brightness": lambda images, by: F.adjust_brightness(images, 1 + 0.9 * by),
        "saturation": lambda images, by: _saturated(images, 1 + 0.9 * by),
        "contrast": lambda images, by: F.adjust_contrast(images, 1 + 0.9 * by),
        "sharpness": lambda images, by: F.adjust_sharpness(images, 1 + 0.9 * by),
        "posterize": lambda images, by: F.posterize(images, 8 - round(4 * abs(by))),
        "solarize": lambda images, by: F.solarize(images, 255 * (1 - abs(by))),
        "autocontrast": lambda images, _: F.autocontrast(images),
        "equalize": lambda images, _: F.equalize(images),
    }
)


def randaugmented(images: Tensor, settings: RandAugment, generator: torch.Generator) -> Tensor:
    """Return uint8 images [N, C, H, W], each changed by so many random operations, one after another."""
    strength = settings.magnitude / MOST_MAGNITUDE
    for _ in range(settings.number):
        chosen = torch.randint(2 * len(OPERATIONS), (len(images),), generator=generator)
        made = images.clone()
        for index, operation in enumerate(OPERATIONS.values()):
            for sign in (0, 1):
                rows = (chosen == 2 * index + sign).nonzero()[:, 0].to(images.device)
                if len(rows):
                    made[rows] = operation(images[rows], strength * (1 - 2 * sign))
        images = made
    return images
