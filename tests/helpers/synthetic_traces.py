"""Traces of exits that become sure one after the other, for tests of policies and predictors."""

from __future__ import annotations

import numpy as np

from coc_cli.exits.traces import Trace

EXITS, CLASSES = 6, 5


def synthetic(n: int, seed: int) -> Trace:
    """Inputs of different difficulty; the larger it is, the later the logits of one class stand out."""
    random = np.random.default_rng(seed)
    target = random.integers(0, CLASSES, n)
    hard = random.uniform(0, EXITS, n)
    outputs = []
    for exit_ in range(EXITS + 1):
        logits = random.normal(0, 0.7, (n, CLASSES))
        logits[np.arange(n), target] += 2.0 * np.maximum(0, exit_ + 1.5 - hard)
        outputs.append(logits)
    answer = np.stack([output.argmax(1) for output in outputs])
    return Trace(tuple(outputs), target, (answer == target).astype(float), True, answer)
