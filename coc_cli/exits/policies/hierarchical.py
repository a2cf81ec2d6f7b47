"""Three exits in turn, at the quarters of the network."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from coc_cli.dvfs.energy import Array
from coc_cli.exits.policies.context import PolicyContext
from coc_cli.exits.policies.threshold import Threshold


@dataclass(frozen=True)
class Hierarchical(Threshold):
    """`threshold` with three exits, nearest to 1/4, 1/2 and 3/4 of the MACs."""

    name: ClassVar[str] = "hierarchical"

    @classmethod
    def chosen_exits(cls, context: PolicyContext, measure: str, threshold: float) -> tuple[int, ...]:  # noqa: ARG003
        return quarters(context.workload.segment_macs)


def quarters(segment_macs: Array) -> tuple[int, ...]:
    """Return the exits nearest to 1/4, 1/2 and 3/4 of the backbone's MACs; `segment_macs` [E + 1]."""
    done = np.cumsum(segment_macs)[:-1] / segment_macs.sum()
    return tuple(sorted({int(np.abs(done - part).argmin()) for part in (0.25, 0.5, 0.75)}))
