"""Tiny pictures on disk, as folders, archives and tables."""

from __future__ import annotations

import zipfile
from io import BytesIO
from pathlib import Path

import numpy as np
from PIL import Image


def pixels(number: int, size: tuple[int, int] = (8, 8), channels: int = 3) -> np.ndarray:
    """Give uint8 [H, W, C], or [H, W] for one channel; each number has its own."""
    shape = (*size, channels) if channels > 1 else size
    return np.random.default_rng(number).integers(0, 256, shape, dtype=np.uint8)


def encoded(array: np.ndarray, ending: str = "png") -> bytes:
    return saved(Image.fromarray(array), ending)


def saved(image: Image.Image, ending: str = "png", **options: object) -> bytes:
    buffer = BytesIO()
    image.save(buffer, {"jpg": "jpeg", "tif": "tiff"}.get(ending, ending), **options)  # type: ignore[arg-type]
    return buffer.getvalue()


def tree(
    classes: dict[str, int], *, first: int = 0, ending: str = "png", size: tuple[int, int] = (8, 8)
) -> dict[str, bytes]:
    """Give so many pictures of each class: file name to content."""
    files = {}
    for name, count in classes.items():
        for index in range(count):
            files[f"{name}/{index:03d}.{ending}"] = encoded(pixels(first + len(files), size), ending)
    return files


def below(top: str, files: dict[str, bytes]) -> dict[str, bytes]:
    return {f"{top}/{name}": content for name, content in files.items()}


def unpack(files: dict[str, bytes], folder: Path) -> Path:
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    return folder


def pack(files: dict[str, bytes], path: Path) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return path
