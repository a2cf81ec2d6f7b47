"""A promise with statistics: leaving early costs at most so much, with such a probability over the images drawn.

Learn then Test (Angelopoulos et al. 2021), as for early exits in "Fast yet Safe" (Jazbec et al. 2024): what is to be
certified is chosen on one half of the images; on the other a path of candidates is tested, safest first, and the last
one before the first that is not shown to be safe is taken. The order is fixed beforehand, so the error of the whole is
that of one test. A candidate is tested by a bet against it (Waudby-Smith and Ramdas 2024), whose stake the first half
chose: valid for any number of images and any distribution of what is lost.
"""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np

Array: TypeAlias = "np.ndarray[Any, Any]"
STAKES = np.linspace(0.02, 1.0, 50)  # of the greatest stake that cannot ruin


def certified(chosen_on: Array, tested_on: Array, limit: float, confidence: float) -> int:
    """Return how many candidates of a path, safest first, are shown to lose at most `limit` on average.

    Args:
        chosen_on: What each loses on each image of the half on which the path was chosen, -1 to 1; [P, A].
        tested_on: The same on the other half, [P, B].
        limit: The mean loss that is allowed, 0 to 1.
        confidence: The probability that what is promised holds, such as 0.95.
    """
    for place, (before, now) in enumerate(zip(chosen_on, tested_on, strict=True)):
        if evidence(before, now, limit) < 1 / (1 - confidence):
            return place
    return len(tested_on)


def evidence(chosen_on: Array, tested_on: Array, limit: float) -> float:
    """Return what a bet that the mean loss is below `limit` made of 1; over 20 where at most 5 % of such bets get.

    If the mean loss were `limit` or more, each factor would be 1 or less on average, so that reaching 20 at any time
    would have a probability of at most 1/20 (Ville's inequality).
    """
    allowed = (1 + limit) / 2  # losses from -1..1 to 0..1

    def growth(losses: Array, stake: Array | float) -> Array:
        factors = 1 + np.multiply.outer(stake / (1 - allowed), allowed - (1 + losses) / 2)
        result: Array = np.log(np.maximum(factors, 1e-12))
        return result

    if allowed >= 1:
        return float("inf")
    stake = STAKES[int(growth(chosen_on, STAKES).sum(1).argmax())]
    return float(np.exp(min(700.0, growth(tested_on, float(stake)).cumsum().max(initial=0.0))))


def least_limit(images: int, confidence: float) -> float:
    """Return the least mean loss that so many tested images can certify, where none of them loses anything.

    With 600 of them and a confidence of 0.95 it is 0.005.
    """
    return float(1 - (1 - confidence) ** (1 / images)) if images else 1.0


def images_for(limit: float, confidence: float) -> int:
    """Return how many tested images the limit needs at least."""
    return int(np.ceil(np.log(1 - confidence) / np.log(1 - limit) - 1e-9))


def shortfall(images: int, limit: float, confidence: float, of: str) -> str | None:
    """Return why a limit cannot be promised with so many images, half of which are tested; None where it can."""
    least = least_limit(len(halves(images)[1]), confidence)
    if limit >= least:
        return None
    needs = f"max_drop {limit:g} needs {2 * images_for(limit, confidence):,} {of}"
    return f"{needs}; with {images:,} the least that can be promised is {least:.3g}"


def halves(n: int) -> tuple[Array, Array]:
    """Return the images on which is chosen and those on which is tested, the same ones every time."""
    order = np.random.default_rng(0).permutation(n)
    return np.sort(order[: n // 2]), np.sort(order[n // 2 :])
