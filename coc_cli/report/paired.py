"""The difference of two networks on the same test images, with its 95 % interval; no numpy needed."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

Z95 = 1.959964


def difference(before: Any, after: Any, n: int) -> tuple[float, float] | None:
    """Give the interval of the mean difference (after minus before) of scores as result.json keeps them.

    Right or wrong, a bit each in hexadecimal: Agresti and Min (2005), half a count added to each cell. Errors: the
    normal one. None where the scores are not there, or not of so many images.
    """
    if isinstance(before, str) and isinstance(after, str):
        return _of_shares(_bits(before, n), _bits(after, n))
    if isinstance(before, list) and isinstance(after, list) and len(before) == len(after) == n > 1:
        return _of_errors(before, after)
    return None


def _bits(scores: str, n: int) -> list[bool]:
    try:
        text = "".join(f"{byte:08b}" for byte in bytes.fromhex(scores))
    except ValueError:
        return []
    return [bit == "1" for bit in text[:n]] if 0 <= len(text) - n < 8 else []  # noqa: PLR2004  (bits of a byte)


def _of_shares(before: Sequence[bool], after: Sequence[bool]) -> tuple[float, float] | None:
    if not before or len(before) != len(after):
        return None
    n = len(before) + 2
    gained = sum(b > a for a, b in zip(before, after, strict=True)) + 0.5
    lost = sum(a > b for a, b in zip(before, after, strict=True)) + 0.5
    centre = (gained - lost) / n
    half = Z95 * math.sqrt(gained + lost - (gained - lost) ** 2 / n) / n
    return max(-1.0, centre - half), min(1.0, centre + half)


def _of_errors(before: Sequence[Any], after: Sequence[Any]) -> tuple[float, float] | None:
    try:
        gaps = [float(b) - float(a) for a, b in zip(before, after, strict=True)]
    except (TypeError, ValueError):
        return None
    mean = math.fsum(gaps) / len(gaps)
    half = Z95 * math.sqrt(math.fsum((gap - mean) ** 2 for gap in gaps) / (len(gaps) - 1) / len(gaps))
    return (mean - half, mean + half) if math.isfinite(half) else None
