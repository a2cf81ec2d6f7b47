"""Curves of score against log BitOps ratio, and the area between two of them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

Curve = Sequence[tuple[float, float]]  # BitOps ratio, score in points; one for each strength


def common_range(curves: Iterable[Curve]) -> tuple[float, float] | None:
    """Return where all curves have a score, as natural logarithms of ratios; None where there is no such stretch."""
    ends = [[np.log(ratio) for ratio, _ in curve] for curve in curves]
    low, high = max(min(one) for one in ends), min(max(one) for one in ends)
    return (float(low), float(high)) if low < high else None


def mean_height(curve: Curve, stretch: tuple[float, float]) -> float:
    """Return the mean score of a curve over a stretch of log ratios, straight between points: area by width."""
    by_ratio: dict[float, list[float]] = {}
    for ratio, score in curve:
        by_ratio.setdefault(float(np.log(ratio)), []).append(score)
    places = np.array(sorted(by_ratio))
    scores = np.array([np.mean(by_ratio[place]) for place in places.tolist()])
    inner = places[(places > stretch[0]) & (places < stretch[1])]
    at = np.concatenate([[stretch[0]], inner, [stretch[1]]])
    heights = np.interp(at, places, scores)
    area = float(np.diff(at) @ (heights[1:] + heights[:-1])) / 2
    return area / (stretch[1] - stretch[0])


def gap(first: Curve, second: Curve) -> float | None:
    """Return by how many points the first curve is higher on average where both are; None where they never both are."""
    stretch = common_range((first, second))
    return None if stretch is None else mean_height(first, stretch) - mean_height(second, stretch)
