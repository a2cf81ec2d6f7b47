"""95 % intervals: of a proportion, of a difference on the same images, and by bootstrap."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np

Z95 = 1.959963984540054  # the 97.5 % point of the normal distribution
INDEX_RESAMPLES, WEIGHT_RESAMPLES = 2000, 1000


def wilson(correct: int, n: int) -> tuple[float, float]:
    """Return the interval [low, high] of a proportion (Wilson 1927)."""
    rate, z2 = correct / n, Z95**2
    centre = (rate + z2 / (2 * n)) / (1 + z2 / n)
    half = Z95 / (1 + z2 / n) * math.sqrt(rate * (1 - rate) / n + z2 / (4 * n * n))
    return max(0.0, centre - half), min(1.0, centre + half)


def paired_rates(before: Sequence[bool], after: Sequence[bool]) -> tuple[float, float]:
    """Return the interval of the difference of two rates on the same images (Agresti and Min 2005).

    Half a count is added to each cell of the table.
    """
    n = len(before) + 2
    gained = sum(b > a for a, b in zip(before, after, strict=True)) + 0.5
    lost = sum(a > b for a, b in zip(before, after, strict=True)) + 0.5
    centre = (gained - lost) / n
    half = Z95 * math.sqrt(gained + lost - (gained - lost) ** 2 / n) / n
    return max(-1.0, centre - half), min(1.0, centre + half)


def paired_means(before: Sequence[float], after: Sequence[float]) -> tuple[float, float]:
    """Return the normal interval of the difference of two means over the same images, two at least."""
    gaps = [b - a for a, b in zip(before, after, strict=True)]
    mean = math.fsum(gaps) / len(gaps)
    half = Z95 * math.sqrt(math.fsum((gap - mean) ** 2 for gap in gaps) / (len(gaps) - 1) / len(gaps))
    return mean - half, mean + half


def resampled_indices(n: int) -> Iterator[np.ndarray[Any, Any]]:
    """Yield the indices [n] of bootstrap samples (Efron 1979), the same ones every time."""
    import numpy as np

    random = np.random.default_rng(0)
    return (random.integers(0, n, n) for _ in range(INDEX_RESAMPLES))


@lru_cache(maxsize=1)
def resampled_weights(n: int, seed: int = 0) -> np.ndarray[Any, Any]:
    """Return the weights of bootstrap samples [WEIGHT_RESAMPLES, n]; the same samples for every policy."""
    import numpy as np

    random = np.random.default_rng(seed)
    return random.multinomial(n, np.full(n, 1 / n), WEIGHT_RESAMPLES) / n


def middle_95(values: Iterable[float]) -> tuple[float, float]:
    """Return the 2.5 and 97.5 % points of values of bootstrap samples."""
    import numpy as np

    low, high = np.percentile(list(values), (2.5, 97.5))
    return float(low), float(high)
