"""One image file: its size and colour, and its pixels as an array. No torch here.

What an export carries (`runtime/standalone.py`) holds this text, so it needs numpy and Pillow alone.
"""

from __future__ import annotations

from io import BytesIO
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from coc_cli.files.budget import IMAGE_PIXELS

if TYPE_CHECKING:
    from PIL.Image import Image as OpenImage

ORIENTATION = 0x0112  # the EXIF tag
# What Pillow may try: others run programs (EPS), or are no pictures.
FORMATS = ("BMP", "DIB", "GIF", "JPEG", "JPEG2000", "PCX", "PNG", "PPM", "TGA", "TIFF", "WEBP")


class OtherSize(Exception):  # noqa: N818  (it is no error by itself)
    """An image has another size than the first; the text is its HxW."""


class Coloured(Exception):  # noqa: N818
    """An image is in colour where the first is grey."""


class Unusable(Exception):  # noqa: N818
    """An image's pixels cannot be used; the text says why."""


def open_image(content: bytes) -> OpenImage:
    """Open an image of so many pixels as coc decodes, undecoded; raises `Unusable` or whatever Pillow raises."""
    from PIL import Image

    image = Image.open(BytesIO(content), formats=FORMATS)
    width, height = image.size
    if width * height > IMAGE_PIXELS:
        raise Unusable(f"{height}x{width}, too large")
    return image


def upright(image: OpenImage) -> OpenImage:
    """Return an image turned as its EXIF orientation says."""
    from PIL import ImageOps

    try:
        is_turned = image.getexif().get(ORIENTATION, 1) != 1
    except Exception:  # noqa: BLE001  (EXIF that cannot be read is none; the pixels may be sound)
        is_turned = False
    return ImageOps.exif_transpose(image) if is_turned else image


def is_grey(image: OpenImage) -> bool:
    """Return whether an image has one channel, not counting an alpha channel."""
    return image.mode in ("1", "L", "LA", "La", "F") or image.mode.startswith("I")


def shape_of(content: bytes) -> tuple[int, int, int]:
    """Return [C, H, W] of an image file without decoding it; raises whatever Pillow raises."""
    with open_image(content) as image:
        width, height = upright(image).size
        return (1 if is_grey(image) else 3), height, width


def pixels_of(
    content: bytes | OpenImage, shape: tuple[int, ...], *, resize: bool, grey_only: bool = False
) -> NDArray[np.uint8]:
    """Decode an image file, or take an open image, to uint8 [C, H, W], with `resize` bilinearly and with antialiasing.

    It is turned as its EXIF orientation says, and what is transparent is put on white. Raises `OtherSize`, `Coloured`,
    `Unusable` or whatever Pillow raises.
    """
    from PIL import Image

    if not content:
        raise Unusable("empty")
    channels, height, width = shape
    with open_image(content) if isinstance(content, bytes) else content.copy() as opened:
        if not resize and sorted(opened.size) != sorted((width, height)):  # known before it is decoded and turned
            raise OtherSize(f"{opened.size[1]}x{opened.size[0]}")
        image: Any = _plain(upright(opened), opened.format)
        if not resize and image.size != (width, height):
            raise OtherSize(f"{image.size[1]}x{image.size[0]}")
        if grey_only and not is_grey(image) and np.ptp(np.asarray(image.convert("RGB")), axis=2).any():
            raise Coloured
        mode = "L" if channels == 1 else "RGB"
        if image.mode != mode:
            image = image.convert(mode)
        if image.size != (width, height):
            image = image.resize((width, height), Image.Resampling.BILINEAR)
        pixels = np.asarray(image)
    return pixels[None] if channels == 1 else pixels.transpose(2, 0, 1)


def _plain(image: Any, form: str | None) -> Any:
    """Return an image of 8 bits without transparency; `form` is the file's format."""
    from PIL import Image

    if image.mode == "F" or (image.mode == "I" and form not in ("PNG", "PPM")):  # these two: 16 bits in an I
        raise Unusable(f"{'floating point' if image.mode == 'F' else '32 bits'} a pixel; save it with 8 or 16")
    if image.mode.startswith("I"):  # 16 bits; Pillow would cut them off at 255
        return Image.fromarray((np.asarray(image) // 256).clip(0, 255).astype(np.uint8))
    if image.mode in ("RGBA", "LA", "PA", "RGBa", "La") or "transparency" in image.info:
        grey, deep = is_grey(image), image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", deep.size, "white"), deep).convert("L" if grey else "RGB")
    return image
