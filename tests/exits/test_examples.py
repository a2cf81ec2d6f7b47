"""The few inputs that a report shows: which they are, and their images."""

from __future__ import annotations

import base64
import io

import numpy as np
import torch
from PIL import Image

from coc_cli.data.images import Split
from coc_cli.exits.examples import chosen, examples, png
from coc_cli.exits.policies.policy import Paths


def paths(exits: list[int], asked: list[int], places: int) -> Paths:
    """Inputs that leave at some exits, having been told the exit so many times."""
    n = len(exits)
    predicted = np.full((n, places), -1)
    for row, count in enumerate(asked):
        predicted[row, :count] = 1
    unused = np.full((n, places), np.nan)
    return Paths(np.ones((n, places), bool), np.array(exits), predicted, unused, unused, unused)


def test_two_of_each_kind_and_none_of_a_kind_that_is_not_there() -> None:
    found = chosen(paths([1, 0, 0, 3, 0, 2, 3, 3, 2], [2, 1, 0, 2, 0, 1, 0, 1, 3], 4))
    assert found == [(1, "easy"), (2, "easy"), (3, "hard"), (6, "hard"), (0, "mispredicted"), (8, "mispredicted")]
    assert chosen(paths([3, 3, 3], [2, 2, 2], 4)) == [(0, "hard"), (1, "hard")]
    assert chosen(paths([1, 1], [0, 2], 4)) == [(0, "easy"), (1, "easy")]


def test_images_are_those_of_the_split() -> None:
    images = torch.arange(4 * 64, dtype=torch.uint8).reshape(4, 1, 8, 8)
    split = Split(images, torch.zeros(3, dtype=torch.int64), rows=torch.tensor([3, 1, 0]))
    found = examples(paths([3, 0, 1], [0, 0, 2], 4), split)
    assert [(one["input"], one["kind"]) for one in found] == [(1, "easy"), (0, "hard"), (2, "mispredicted")]
    drawn = Image.open(io.BytesIO(base64.b64decode(found[1]["png"])))
    assert (np.array(drawn) == images[3, 0].numpy()).all()


def test_large_images_are_made_small_and_colours_stay() -> None:
    image = np.zeros((3, 200, 100), np.uint8)
    image[0] = 255
    drawn = Image.open(io.BytesIO(base64.b64decode(png(image))))
    assert drawn.size == (32, 64)
    assert drawn.getpixel((5, 5)) == (255, 0, 0)
