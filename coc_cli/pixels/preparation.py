"""Images as a network reads them: resized, turned and normalised as in training; and what it must not be given.

What an export carries (`runtime/standalone.py`) holds this text, so it needs numpy and, for files, Pillow alone.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from coc_cli.pixels.decoding import pixels_of

LARGEST_IMAGE_FILE = 256_000_000
BEYOND = 4.0  # times what normalised pixels can be: other numbers
WIDE = 0.8  # of 0..1: so much of it is spanned by whole pictures
NEARLY_WHOLE = 1e-3
PREPARE = "prepare(images) takes files, PIL images and uint8 pixels, and normalises them"


class InputError(ValueError):
    """An image, an array or a file cannot be used; the text says which, why and what to do, in one line."""


@dataclass(frozen=True)
class Preparation:
    """How a network's images are prepared."""

    shape: tuple[int, int, int]  # C, H, W
    mean: tuple[float, ...]  # per channel, of images scaled to 0..1
    std: tuple[float, ...]

    def prepare(self, images: Any) -> NDArray[np.float32]:
        """Return normalised images [N, C, H, W], prepared as in training.

        Files and PIL images are turned as their EXIF says, put on white where they are transparent, made grey or
        coloured, and resized (bilinear, antialiased). Pixels are scaled to 0..1, less the mean, by the deviation.

        Args:
            images: One or several of: a path, a PIL image, an array [C, H, W] of uint8 pixels or of normalised
                float32; or an array [N, C, H, W] of either.

        Raises:
            InputError: For a file that is no image, or an array of another size, type or range.
        """
        if isinstance(images, np.ndarray) and images.ndim == 4:  # noqa: PLR2004
            return np.stack([self._normalised(image) for image in images]) if len(images) else self._none()
        if isinstance(images, str | Path | np.ndarray) or hasattr(images, "getexif"):
            images = [images]
        if not isinstance(images, Iterable):
            raise InputError(f"takes paths, images or arrays, got {type(images).__name__}")
        made = [self._one(image) for image in images]
        return np.stack(made) if made else self._none()

    def check(self, images: Any) -> None:
        """Raise `InputError` unless an array or tensor can be normalised images float32 [N, C, H, W]."""
        if str(images.dtype).removeprefix("torch.") not in ("float32", "float16", "bfloat16", "float64"):
            raise InputError(f"takes normalised float32, got {images.dtype}; {PREPARE}")
        if images.ndim != 4 or tuple(images.shape[1:]) != self.shape:  # noqa: PLR2004
            wants, got = ("x".join(map(str, shape)) for shape in (("N", *self.shape), tuple(images.shape)))
            raise InputError(f"takes {wants} (channels first), got {got or 'a number'}; {PREPARE}")
        if not len(images):
            return
        low, high = float(images.min()), float(images.max())
        if not np.isfinite([low, high]).all():
            raise InputError("got numbers that are not finite")
        limit = BEYOND * max(max(abs(mean), abs(1 - mean)) / std for mean, std in zip(self.mean, self.std, strict=True))
        if max(-low, high) > max(limit, BEYOND**2):
            raise InputError(f"takes normalised images, got numbers from {low:.4g} to {high:.4g}; {PREPARE}")
        if low >= 0 and high <= 1 and low < high and self._are_scaled_pixels(images, high - low):
            raise InputError(f"takes normalised images, got numbers from 0 to 1, which are scaled pixels; {PREPARE}")

    def _are_scaled_pixels(self, images: Any, span: float) -> bool:
        """Return whether numbers within 0..1 are pixels by 255, or as wide as pictures; not so of an own such range."""
        if all(mean == 0 and std == 1 for mean, std in zip(self.mean, self.std, strict=True)):
            return False
        wholes = images * 255
        return span > WIDE or float(abs(wholes - wholes.round()).max()) < NEARLY_WHOLE

    def _none(self) -> NDArray[np.float32]:
        return np.empty((0, *self.shape), np.float32)

    def _one(self, image: Any) -> NDArray[np.float32]:
        if isinstance(image, np.ndarray):
            return self._normalised(image)
        return self._normalised(image_pixels(image, self.shape))

    def _normalised(self, image: NDArray[Any]) -> NDArray[np.float32]:
        if image.shape != self.shape:
            wants, got = ("x".join(map(str, shape)) for shape in (self.shape, image.shape))
            raise InputError(f"takes arrays of {wants} (channels first), got {got}")
        if image.dtype == np.uint8:
            mean, std = (np.array(each, np.float32).reshape(-1, 1, 1) for each in (self.mean, self.std))
            return ((image.astype(np.float32) / np.float32(255) - mean) / std).astype(np.float32)
        if image.dtype != np.float32:
            raise InputError(f"takes uint8 pixels or normalised float32, got {image.dtype}")
        self.check(image[None])
        return image


def content_of(path: Path, largest: int, absent: str) -> bytes:
    """Return a regular file's bytes, of which there may be so many; raises `InputError`."""
    try:
        if not path.is_file():
            raise InputError(f"{path}: {absent}")
        if path.stat().st_size > largest:
            raise InputError(f"{path}: larger than {largest:,} bytes")
        return path.read_bytes()
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}") from error


def image_pixels(image: Any, shape: tuple[int, int, int]) -> NDArray[np.uint8]:
    """Return the pixels of a file or of a PIL image, uint8 [C, H, W], as training decoded them."""
    name = f"{image}" if isinstance(image, str | Path) else "the image"
    try:
        import PIL  # noqa: F401
    except ImportError as error:
        raise InputError(f"{name}: image files need Pillow; pip install pillow, or pass arrays") from error
    content: Any = image
    if isinstance(image, str | Path):
        absent = "is a folder, not a picture" if Path(image).is_dir() else "no such file"
        content = content_of(Path(image), LARGEST_IMAGE_FILE, absent)
    elif not hasattr(image, "getexif"):
        raise InputError(f"takes paths, images or arrays, got {type(image).__name__}")
    try:
        return pixels_of(content, shape, resize=True)
    except OSError as error:
        raise InputError(f"{name}: {error.strerror or 'not an image, or damaged'}") from error
    except Exception as error:
        raise InputError(f"{name}: cannot be used: {(str(error).splitlines() or ['damaged'])[0]}") from error
