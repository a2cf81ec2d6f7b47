"""Images of strangers: refused by what their header says, decoded in bounded memory, and never a program."""

from __future__ import annotations

import os
import struct
import zipfile
import zlib
from collections.abc import Callable
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from children import child
from command_line import coc
from pictures import encoded, pixels, tree
from PIL import Image
from tiny import TINY_RECIPE

from coc_cli.data.decode import Form, _attempt
from coc_cli.data.unusable import OtherSize
from coc_cli.files import budget
from coc_cli.pixels.decoding import pixels_of

Write = Callable[[str], Path]


def _chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


@cache
def blank_png(height: int, width: int, colour: int = 2) -> bytes:
    """Return a PNG of zeros, a thousandth of what it decodes to; colour 2 is RGB, 6 RGBA, 0 grey."""
    row = 1 + width * {0: 1, 2: 3, 6: 4}[colour]
    packer = zlib.compressobj(9)
    lines = [packer.compress(bytes(row)) for _ in range(height)]
    header = struct.pack(">IIBBBBB", width, height, 8, colour, 0, 0, 0)
    data = b"".join(lines) + packer.flush()
    return b"\x89PNG\r\n\x1a\n" + _chunk(b"IHDR", header) + _chunk(b"IDAT", data) + _chunk(b"IEND", b"")


def placed(files: dict[str, bytes], folder: Path = Path("pets")) -> None:
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)


def pets(recipe: Write, more: str = "", place: str = "pets") -> Path:
    text = TINY_RECIPE.replace("source: digits", f"source: 'folder:{place}'{more}").replace("epochs: 2", "epochs: 1")
    return recipe(text)


@pytest.mark.full
@pytest.mark.parametrize("more", ["", ", size: 16"])
def test_eighty_small_files_of_ten_thousand_by_ten_thousand(recipe: Write, more: str) -> None:
    path, bomb = pets(recipe, more), blank_png(10_000, 10_000)
    placed(tree({"a": 20, "b": 20}))
    for index in range(80):
        place = Path(f"pets/{'ab'[index % 2]}/bomb{index}.png")
        place.write_bytes(bomb) if index < 2 else os.link(f"pets/{'ab'[index % 2]}/bomb{index % 2}.png", place)
    ended = child("compress", path, seconds=120)
    assert ended.code == 2
    assert "80 images cannot be read" in ended.stderr
    assert "(10000x10000, too large) and 75 more" in ended.stderr
    assert ended.peak < 900  # what torch takes


@pytest.mark.full
def test_the_largest_that_passes_are_decoded_in_bounded_memory(recipe: Write) -> None:
    path, large = pets(recipe, ", size: 8"), blank_png(8000, 8000, colour=6)
    placed(tree({"a": 20, "b": 20}))
    for index in range(6):
        Path(f"pets/{'ab'[index % 2]}/large{index}.png").write_bytes(large)
    ended = child("compress", path, seconds=300)
    assert ended.code == 0
    assert ended.peak < 2600  # two at a time


@pytest.mark.full
def test_the_header_decides_before_anything_is_decoded() -> None:
    from coc_cli.data.unusable import Unusable

    for colour in (0, 2, 6):
        with pytest.raises(Unusable, match="9000x9000, too large"):
            pixels_of(blank_png(9000, 9000, colour)[:2000], (3, 8, 8), resize=True)
    with pytest.raises(OtherSize, match="8000x8000"):  # cut short, so decoding would say that
        pixels_of(blank_png(8000, 8000)[:2000], (3, 8, 8), resize=False)


def test_of_a_broken_image_the_reason_is_kept_and_nothing_else() -> None:
    content = encoded(pixels(1, (64, 64)))[:-200]
    error = _attempt(lambda _: content, "a.png", Form((3, 8, 8), resize=True))
    assert isinstance(error, Exception)
    assert (error.__traceback__, error.__cause__, error.__context__) == (None, None, None)


def test_images_too_large_to_keep_are_refused_in_the_plan(recipe: Write) -> None:
    path = pets(recipe)
    placed(tree({"a": 5, "b": 5}))
    for place in Path("pets").rglob("*.png"):
        place.write_bytes(blank_png(8000, 8000)[:2000])
    said = coc("plan", path, code=2).stderr
    assert said == "recipe.yaml:4: data.size: images of 8000x8000 are too large; give a smaller 'size'\n"


@pytest.mark.parametrize(
    "content",
    [
        b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 8 8\n%%EndComments\n(canary) (w) file\nshowpage\n",
        b"\xd7\xcd\xc6\x9a",
    ],
)
def test_only_pictures_are_opened_whatever_their_ending(content: bytes) -> None:
    with pytest.raises(Exception, match="cannot identify"):
        pixels_of(content, (3, 8, 8), resize=True)


@pytest.mark.parametrize("kind", ["pipe", "device"])
def test_what_is_no_file_among_images_is_named(recipe: Write, kind: str) -> None:
    path = pets(recipe)
    placed(tree({"a": 5, "b": 5}))
    if kind == "pipe":
        os.mkfifo("pets/a/odd.png")
    else:
        Path("pets/a/odd.png").symlink_to("/dev/zero")
    said = child("plan", path, seconds=20)
    assert said.code == 2
    assert "1 image that cannot be opened: pets/a/odd.png (a pipe or a device)" in said.stderr


def test_entries_of_an_archive_are_bounded(recipe: Write) -> None:
    path = pets(recipe, ", size: 8", "pets.zip")
    with zipfile.ZipFile("pets.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in tree({"a": 5, "b": 5}).items():
            archive.writestr(name, content)
        archive.writestr("a/bomb.bmp", bytes(30_000_000))
        archive.writestr("a/small.png", encoded(np.zeros((500, 500, 3), np.uint8)))
    said = coc("compress", path, code=2).stderr
    assert "1 image cannot be read: a/bomb.bmp (30,000,000 bytes out of 29," in said
    assert "too large)" in said


@pytest.mark.full
def test_a_picture_file_over_its_bytes_is_not_read(recipe: Write) -> None:
    path = pets(recipe, ", size: 8")
    placed(tree({"a": 5, "b": 5}))
    with Path("pets/a/sparse.png").open("wb") as file:
        file.truncate(budget.FILE_BYTES + 1)
    ended = child("compress", path, seconds=60)
    assert ended.code == 2
    assert "1 image cannot be read: a/sparse.png (has 256,000,001 bytes, at most 256,000,000 are read)" in ended.stderr


def test_sixteen_bits_are_cut_as_before() -> None:
    deep = np.arange(64 * 64, dtype=np.uint16).reshape(64, 64) * 16
    from pictures import saved

    for ending in ("png", "tif"):
        read = pixels_of(saved(Image.fromarray(deep), ending), (1, 64, 64), resize=False)
        assert (read[0] == deep // 256).all()
