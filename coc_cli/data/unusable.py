"""Images that cannot be used, and why; one error names all of them. No torch here."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from coc_cli.errors import at_key, raise_if_any
from coc_cli.pixels.decoding import Coloured, OtherSize, Unusable
from coc_cli.units import counted, named


class UnusableImages:
    """The images that cannot be used, noted by what is wrong with them."""

    def __init__(self, height: int, width: int) -> None:
        self.height, self.width = height, width
        self.broken: list[str] = []
        self.other_size: list[str] = []
        self.coloured: list[str] = []

    def __bool__(self) -> bool:
        return bool(self.broken or self.other_size or self.coloured)

    def note(self, names: Iterable[str], images: Iterable[Any]) -> None:
        """Note each name whose image is an exception."""
        for name, image in zip(names, images, strict=True):
            if isinstance(image, OtherSize):
                self.other_size.append(f"{name} ({image})")
            elif isinstance(image, Coloured):
                self.coloured.append(name)
            elif isinstance(image, Exception):
                self.broken.append(f"{name} ({_reason(image)})")

    def raise_if_any(self) -> None:
        """Raise `DataError` if any image was noted."""
        problems = []
        if self.broken:
            problems.append(f"{counted(len(self.broken), 'image')} cannot be read: {named(self.broken)}")
        if self.other_size:
            what = f"{counted(len(self.other_size), 'image')} not {self.height}x{self.width} as the first"
            problems.append(f"{what}: {named(self.other_size)}; give 'size' to resize all")
        if self.coloured:
            what = f"{counted(len(self.coloured), 'image')} in colour, but the first is grey: {named(self.coloured)}"
            problems.append(f"{what}; give 'channels', 3 or 1")
        raise_if_any(at_key("source", problems))


def _reason(error: Exception) -> str:
    """Describe in a word or two why an image cannot be read."""
    from PIL import Image, UnidentifiedImageError

    if isinstance(error, Unusable):
        return str(error)
    if isinstance(error, UnidentifiedImageError):
        return "not an image"
    if isinstance(error, Image.DecompressionBombError):
        return "too large"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror.lower()
    return "truncated" if "truncated" in str(error).lower() else "damaged"
