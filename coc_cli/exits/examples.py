"""A few test images that show how differently inputs run: easy ones, hard ones, and mispredicted ones."""

from __future__ import annotations

import base64
import io
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from PIL import Image

from coc_cli.dvfs.energy import Array
from coc_cli.exits.policies.policy import Paths

if TYPE_CHECKING:
    from coc_cli.data.images import Split

EACH = 2  # of a kind
LARGEST = 64  # pixels; larger images are shown smaller


def examples(paths: Paths, images: Split) -> list[dict[str, Any]]:
    """Return a few inputs with what they are examples of and their image as a PNG in base64."""
    inputs = chosen(paths)
    pixels = images.take(torch.tensor([index for index, _ in inputs], dtype=torch.int64)).cpu().numpy()
    return [
        {"input": index, "kind": kind, "png": png(image)} for (index, kind), image in zip(inputs, pixels, strict=True)
    ]


def chosen(paths: Paths) -> list[tuple[int, str]]:
    """Return the first inputs of each kind: easy ones leave first of all, hard ones last, mispredicted ones go on.

    A kind of which there are no inputs is left out.
    """
    final = paths.visited.shape[1] - 1
    predictions = (paths.predicted >= 0).sum(1)
    first = int(paths.exit.min())
    kinds = {
        "easy": (paths.exit == first) & (first < final),
        "hard": paths.exit == final,
        "mispredicted": (predictions > 1) & (paths.exit > first) & (paths.exit < final),
    }
    return [(int(index), kind) for kind, rows in kinds.items() for index in np.flatnonzero(rows)[:EACH]]


def png(image: Array) -> str:
    """Return an image, uint8 [C, H, W], as a PNG in base64, at most 64 pixels wide and high."""
    drawn = Image.fromarray(image[0] if len(image) == 1 else image[:3].transpose(1, 2, 0))
    drawn.thumbnail((LARGEST, LARGEST))
    file = io.BytesIO()
    drawn.save(file, "png", optimize=True)
    return base64.b64encode(file.getvalue()).decode()
