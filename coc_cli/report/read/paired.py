"""The difference of two networks on the same test images, with its 95 % interval; no numpy needed."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from coc_cli.intervals import paired_means, paired_rates


def difference(before: Any, after: Any, n: int) -> tuple[float, float] | None:
    """Return the interval of the mean difference (after minus before) of scores as result.json keeps them.

    Right or wrong, a bit each in hexadecimal: Agresti and Min (2005), half a count added to each cell. Errors: the
    normal one. None where the scores are not there, or not of so many images.
    """
    if isinstance(before, str) and isinstance(after, str):
        return _of_rates(_bits(before, n), _bits(after, n))
    if isinstance(before, list) and isinstance(after, list) and len(before) == len(after) == n > 1:
        return _of_errors(before, after)
    return None


def _bits(scores: str, n: int) -> list[bool]:
    try:
        text = "".join(f"{byte:08b}" for byte in bytes.fromhex(scores))
    except ValueError:
        return []
    return [bit == "1" for bit in text[:n]] if 0 <= len(text) - n < 8 else []  # noqa: PLR2004  (bits of a byte)


def _of_rates(before: list[bool], after: list[bool]) -> tuple[float, float] | None:
    return paired_rates(before, after) if before and len(before) == len(after) else None


def _of_errors(before: Sequence[Any], after: Sequence[Any]) -> tuple[float, float] | None:
    try:
        low, high = paired_means(list(map(float, before)), list(map(float, after)))
    except (TypeError, ValueError):
        return None
    return (low, high) if math.isfinite(high - low) else None
