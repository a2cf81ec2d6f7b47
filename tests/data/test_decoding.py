"""What becomes of one image: its depth, its orientation, its transparency, and why it may not be usable."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from pictures import encoded, pixels, saved, tree, unpack
from PIL import Image

from coc_cli.data import sources
from coc_cli.data.settings import DataSettings
from coc_cli.errors import StageError
from coc_cli.pixels.decoding import pixels_of


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def told(**keys: object) -> str:
    with pytest.raises(StageError) as caught:
        sources.read(DataSettings(source="folder:pets", **keys), 0, cache=Path("cache"))  # type: ignore[arg-type]
    return caught.value.what


@pytest.mark.parametrize("ending", ["png", "tif", "ppm"])
def test_sixteen_bits_become_eight(ending: str) -> None:
    deep = (np.arange(64, dtype=np.uint16) * 1000).reshape(8, 8)
    content = encoded(deep, ending)
    assert np.array_equal(pixels_of(content, (1, 8, 8), resize=False)[0], (deep // 256).astype(np.uint8))


def test_each_image_that_cannot_be_used_is_told_with_its_reason() -> None:
    whole = encoded(pixels(0, (64, 64)))
    wrong = {
        "0.png": b"",
        "1.png": b"words",
        "2.png": whole[: len(whole) // 2],
        "3.tif": encoded(np.ones((8, 8), dtype=np.float32), "tif"),
        "4.tif": encoded(np.ones((8, 8), dtype=np.int32), "tif"),
    }
    unpack({**tree({"a": 9, "b": 9}), **{f"c/{name}": content for name, content in wrong.items()}}, Path("pets"))
    assert told(size=8, channels=3) == (
        "5 images cannot be read: c/0.png (empty), c/1.png (not an image), c/2.png (truncated),"
        " c/3.tif (floating point a pixel; save it with 8 or 16), c/4.tif (32 bits a pixel; save it with 8 or 16)"
    )


def test_colour_behind_a_grey_first_image_is_refused_unless_channels_are_given() -> None:
    files = tree({"a": 6, "b": 6})
    files["a/000.png"] = encoded(pixels(1, channels=1))
    files["b/001.png"] = encoded(np.repeat(pixels(2, channels=1)[..., None], 3, axis=2))  # grey, saved as RGB
    unpack(files, Path("pets"))
    assert told().startswith("10 images in colour, but the first is grey: a/001.png, a/002.png,")
    assert told().endswith("; give 'channels', 3 or 1")
    for channels in (1, 3):
        settings = DataSettings(source="folder:pets", channels=channels)
        assert sources.read(settings, 0, cache=Path("cache")).info.shape == (channels, 8, 8)
    assert "in colour" in told()  # whatever the cache holds for a given 1


@pytest.mark.parametrize("ending", ["jpg", "png", "webp", "tif"])
def test_an_image_is_turned_as_its_exif_says(ending: str) -> None:
    array = np.zeros((8, 16, 3), dtype=np.uint8)
    array[:, :8] = 255
    exif = Image.Exif()
    exif[0x0112] = 6  # a quarter turn clockwise
    content = saved(Image.fromarray(array), ending, exif=exif)
    made = pixels_of(content, (3, 16, 8), resize=False)
    assert (made[:, :6].min() > 200, made[:, 10:].max() < 50) == (True, True)
    unpack({f"{name}/{i}.{ending}": content for name in "ab" for i in range(4)}, Path("pets"))
    assert sources.describe(DataSettings(source="folder:pets")).shape == (3, 16, 8)


def test_what_is_transparent_is_put_on_white_and_what_is_opaque_stays() -> None:
    array = pixels(3, channels=4)
    array[..., 3] = 255
    array[0, :, 3] = 0
    made = pixels_of(encoded(array), (3, 8, 8), resize=False)
    assert (made[:, 0] == 255).all()
    assert np.array_equal(made[:, 1:], array[1:, :, :3].transpose(2, 0, 1))
    grey = Image.fromarray(np.stack([pixels(4, channels=1), array[..., 3]], axis=2), "LA")
    made = pixels_of(saved(grey), (1, 8, 8), resize=False)
    assert np.array_equal(made[0, 1:], pixels(4, channels=1)[1:])
    assert (made[0, 0] == 255).all()
    palette = Image.fromarray(np.zeros((8, 8), dtype=np.uint8), "P")
    palette.putpalette([1, 2, 3])
    assert (pixels_of(saved(palette, transparency=0), (3, 8, 8), resize=False) == 255).all()
