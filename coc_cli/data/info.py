"""What is known of a source's images before they are read, and all of it once they are. No torch here."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class DataInfo:
    """What is known of the images; mean and std are None until images are read, if they depend on them."""

    shape: tuple[int, int, int]  # C, H, W
    labels: tuple[str, ...]  # class names, or names of the regression targets
    task: Literal["classification", "regression"]
    mean: tuple[float, ...] | None  # per channel, of images scaled to 0..1
    std: tuple[float, ...] | None
    validation_images: int
    images: int = 0  # that are kept, of all splits; 0 where that is not known
    notes: tuple[str, ...] = ()  # what a user should know of the listing and its splits
