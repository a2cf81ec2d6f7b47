"""Paths of which nothing is foretold, and what is known of them, for tests of governors."""

from __future__ import annotations

import numpy as np

from coc_cli.dvfs.governors.governor import PathBatch, PathStatistics, TypicalPath, exit_rates


def load_of(visited: np.ndarray) -> PathBatch:
    """Paths of a policy that may visit every exit."""
    exits = visited.shape[1] - 1
    nothing = np.full(visited.shape, np.nan)
    every = np.full(visited.shape, exits)
    return PathBatch(visited, nothing, every, every)


def usual_of(leaves: np.ndarray, n: int = 1000) -> PathStatistics:
    """Every exit may be visited, and such a share leaves at each, of n validation inputs too; [E + 1]."""
    exits = len(leaves) - 1
    every = tuple(range(exits + 1))
    reach = np.cumprod([1.0, *(1 - leaves[:-1])])
    visited = np.arange(n)[:, None] < np.round(reach * n)
    return PathStatistics(every, max(0, exits - 1), TypicalPath(every, leaves), {}, load_of(visited), exits)


def known_of(visited: np.ndarray) -> tuple[PathBatch, PathStatistics]:
    """Paths, and what is known of them had they been those of validation too."""
    left = np.array([path.nonzero()[0][-1] for path in visited])
    return load_of(visited), usual_of(exit_rates(tuple(range(visited.shape[1])), left))
