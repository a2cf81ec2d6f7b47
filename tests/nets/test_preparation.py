"""What a network takes: files, images and arrays as training prepared them; all else is refused in a line."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from exportable import float_network, quantised
from PIL import Image

import coc_cli
from coc_cli.errors import UserError
from coc_cli.nets.checkpoint import save
from coc_cli.nets.network import Network
from coc_cli.pixels.decoding import pixels_of
from coc_cli.pixels.preparation import PREPARE, InputError, Preparation


@pytest.fixture(scope="module")
def network() -> Network:
    return float_network("cifar:resnet20", {"depth": 8, "width": 4}, measure="max_softmax").eval()


PIXELS = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (3, 3, 16, 16), dtype=np.uint8))


def test_all_forms_get_the_answers_of_normalised_pixels(network: Network, tmp_path: Path) -> None:
    files = [tmp_path / f"{place}.png" for place in range(3)]
    for path, image in zip(files, PIXELS.numpy(), strict=True):
        Image.fromarray(image.transpose(1, 2, 0)).save(path)
    expected = network.predict(network.normalise(PIXELS))
    forms: list[Any] = [PIXELS, PIXELS.numpy(), list(PIXELS), files, [Image.open(path) for path in files]]
    for form in forms:
        found = network.predict(form)
        assert torch.equal(found.value, expected.value)
        torch.testing.assert_close(found.probabilities, expected.probabilities)
    assert expected.probabilities is not None
    torch.testing.assert_close(expected.probabilities.sum(1), torch.ones(3))
    one = network.prepare(files[1])
    torch.testing.assert_close(one, network.normalise(PIXELS[1:2]))
    assert network.predict(network.normalise(PIXELS).double()).value.tolist() == expected.value.tolist()
    for made in (network, quantised(network, 4, 4)):
        assert len(made.predict([]).value) == 0


def test_a_photo_is_prepared_as_training_does(network: Network, tmp_path: Path) -> None:
    photo = Image.effect_noise((37, 21), 90).convert("RGBA")
    photo.putalpha(Image.effect_noise((37, 21), 60))
    exif = Image.Exif()
    exif[0x0112] = 6
    photo.save(tmp_path / "a.png", exif=exif)
    decoded = pixels_of((tmp_path / "a.png").read_bytes(), network.spec.input_shape, resize=True)
    expected = network.normalise(torch.from_numpy(np.array(decoded))[None])
    torch.testing.assert_close(network.prepare(tmp_path / "a.png"), expected)


FLOATS = PIXELS.float() / 255


@pytest.mark.parametrize(
    ("images", "text"),
    [
        (FLOATS, f"takes normalised images, got numbers from 0 to 1, which are scaled pixels; {PREPARE}"),
        (FLOATS[:1, :, :, :] * 0.3 + 0.2, None),  # could be a grey image
        (PIXELS[:1].clamp(40, 60).float() / 255,
         f"takes normalised images, got numbers from 0 to 1, which are scaled pixels; {PREPARE}"),
        (FLOATS * 255, f"takes normalised images, got numbers from 0 to 255; {PREPARE}"),
        (torch.zeros(1, 3, 16, 16), None),
        (torch.zeros(1, 3, 32, 32), f"takes Nx3x16x16 (channels first), got 1x3x32x32; {PREPARE}"),
        (torch.zeros(3, 16, 16), f"takes Nx3x16x16 (channels first), got 3x16x16; {PREPARE}"),
        (torch.zeros(1, 16, 16, 3), f"takes Nx3x16x16 (channels first), got 1x16x16x3; {PREPARE}"),
        (torch.full((1, 3, 16, 16), torch.nan), "got numbers that are not finite"),
        (PIXELS[:, :1], "takes arrays of 3x16x16 (channels first), got 1x16x16"),
        (PIXELS.int(), "takes uint8 pixels or normalised float32, got int32"),
        (FLOATS.double().numpy(), "takes uint8 pixels or normalised float32, got float64"),
        (FLOATS.numpy(), f"takes normalised images, got numbers from 0 to 1, which are scaled pixels; {PREPARE}"),
        (7, "takes paths, images or arrays, got int"),
        ([7], "takes paths, images or arrays, got int"),
        ("none.png", "none.png: no such file"),
    ],
)  # fmt: skip
def test_what_would_be_answered_quietly_is_refused(network: Network, images: Any, text: str | None) -> None:
    if text is None:
        assert len(network.predict(images).value) == 1
        return
    with pytest.raises(InputError) as caught:
        network.predict(images)
    assert str(caught.value) == text


def test_normalise_takes_pixels_only(network: Network) -> None:
    with pytest.raises(InputError, match=r"^takes uint8 pixels, 0 to 255, got torch.float32; prepare\(images\) takes"):
        network.normalise(FLOATS)


def test_pixels_that_training_left_as_they_were_lie_in_0_to_1() -> None:
    Preparation((3, 16, 16), (0.0,) * 3, (1.0,) * 3).check(FLOATS)


def test_a_run_directory_is_loaded(network: Network, tmp_path: Path) -> None:
    save(network, (), tmp_path / "model.safetensors")
    assert torch.equal(coc_cli.load(tmp_path).predict(PIXELS).value, network.predict(PIXELS).value)
    with pytest.raises(UserError, match="no such run directory or checkpoint"):
        coc_cli.load(tmp_path / "none")
