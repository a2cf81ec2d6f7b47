"""What a recipe says about its data, and what is known of a source before it is read. No torch here."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field

from coc_cli.nets.spec import Frozen

if TYPE_CHECKING:
    from coc_cli.data.images import Data


class Augment(Frozen):
    """Random changes to training images, drawn anew for every image in every epoch."""

    shift: Annotated[int, Field(ge=0, le=64, description="pixels, at most, in each direction")] = 0
    rotate: Annotated[float, Field(ge=0, le=180, description="degrees, at most, to either side")] = 0.0
    flip: Annotated[bool, Field(description="mirror half of the images left to right")] = False


class DataSettings(Frozen):
    """The `data` section of a recipe."""

    source: Annotated[Literal["digits"], Field(description="digits: scikit-learn's 1,797 handwritten 8x8 digits")]
    augment: Augment = Augment()

    def describe(self) -> DataInfo:
        """Give what is known without reading any image."""
        return DataInfo((1, 8, 8), (0.3054,), (0.3760,), tuple("0123456789"), 360, "classification")

    def read(self, seed: int) -> Data:
        """Read and split the images; the split depends on the seed alone."""
        from coc_cli.data.digits import read_digits

        return read_digits(seed)


@dataclass(frozen=True)
class DataInfo:
    """Shape (C, H, W), normalisation of images scaled to 0..1, and labels."""

    shape: tuple[int, int, int]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    labels: tuple[str, ...]
    validation_images: int
    task: Literal["classification", "regression"]
