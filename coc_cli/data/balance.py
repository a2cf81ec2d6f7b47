"""How often an epoch draws each training image, so that rare classes or numbers are seen more often; numpy only."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

BINS = 10
MOST_DRAWS = 10.0  # of an image in an epoch, on average, where numbers are balanced


def tenths(numbers: NDArray[Any]) -> NDArray[np.int64]:
    """Return in which of ten equal parts of their range the numbers [N] lie, 0 to 9."""
    low, high = float(numbers.min()), float(numbers.max())
    parts = (numbers.astype(np.float64) - low) * (BINS / (high - low or 1.0))
    return np.minimum(parts.astype(np.int64), BINS - 1)


def balanced_weights(kinds: NDArray[np.int64], balance: float, *, bounded: bool = False) -> NDArray[np.float64]:
    """Return how many times an epoch draws each image on average, [N], from the kind of each [N]; the sum is N.

    A kind of n images is drawn in proportion to n ** (1 - balance): at 1 all kinds equally often. With 900 images of
    one kind and 100 of another, 1 draws each of the first 0.56 times and each of the second 5 times, and 0.5 draws
    them 0.83 and 2.5 times. With `bounded` none is drawn more than ten times; what is over goes to the other kinds.
    """
    sizes = np.bincount(kinds).astype(np.float64)
    drawn = np.where(sizes > 0, np.maximum(sizes, 1) ** (1 - balance), 0.0)
    drawn *= len(kinds) / drawn.sum()
    is_full = np.zeros(len(sizes), dtype=bool)
    for _ in range(len(sizes) if bounded else 0):
        is_full |= drawn > MOST_DRAWS * sizes
        left = len(kinds) - MOST_DRAWS * sizes[is_full].sum()
        drawn = np.where(is_full, MOST_DRAWS * sizes, drawn * (left / drawn[~is_full].sum()))
    weights: NDArray[np.float64] = (drawn / np.maximum(sizes, 1))[kinds]
    return weights
