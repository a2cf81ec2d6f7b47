"""The exits that pay by the placement rule of Predictive Exit (Li et al. 2023), in turn."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from coc_cli.dvfs.energy import Array
from coc_cli.exits.policies.context import PolicyContext
from coc_cli.exits.policies.threshold import Threshold

TH = 0.5  # the rule's own name for it


@dataclass(frozen=True)
class Placement(Threshold):
    """`threshold` with the exits that pay by the rule."""

    name: ClassVar[str] = "placement"

    @classmethod
    def chosen_exits(cls, context: PolicyContext, measure: str, threshold: float) -> tuple[int, ...]:
        segments, heads = context.workload.segment_macs, context.workload.head_macs
        return placed(segments, heads, (context.trace.confidence(measure) < threshold).mean(1))


def placed(segment_macs: Array, head_macs: Array, continue_rate: Array) -> tuple[int, ...]:
    """Return the exits m that pay: (TH - C) y[m + 1] - (1 - C) y_exit[m] - (1 - TH) y[m] >= 0 with TH = 1/2.

    `continue_rate` [E] is C, the fraction of inputs that do not leave when only exit m is active; y are layer costs,
    those of the segments before and behind the exit (Li et al. 2023, as in their code). The weights are theirs.
    """
    gain = (TH - continue_rate) * segment_macs[1:]
    loss = (1 - continue_rate) * head_macs + (1 - TH) * segment_macs[:-1]
    return tuple(np.flatnonzero(gain - loss >= 0).tolist())
