"""Exits in turn until so many in a row agree (PABEE, Zhou et al. 2020)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from coc_cli.dvfs.energy import Array
from coc_cli.exits.policies.policy import Decision, Family, Inputs, Policy
from coc_cli.exits.traces import Trace

if TYPE_CHECKING:
    from coc_cli.exits.policies.context import PolicyContext


@dataclass(frozen=True)
class Patience(Policy):
    """Every exit in turn; an input leaves when so many in a row gave the same class."""

    agreeing: int
    name: ClassVar[str] = "patience"
    family: ClassVar[Family] = "passive"
    needs_classes: ClassVar[bool] = True

    @classmethod
    def shapes(cls, context: PolicyContext) -> Iterator[Policy]:
        yield from (cls(agreeing) for agreeing in range(1, context.trace.exits))

    def first(self, trace: Trace) -> Array:
        return np.zeros(len(trace), dtype=int)

    def decide(self, trace: Trace, at: int, inputs: Inputs) -> Decision:
        labels = trace.answer[: at + 1, inputs.rows]
        same = (labels[::-1] == labels[-1]).cumprod(0).sum(0)  # how many in a row, this one included
        return Decision(same > self.agreeing, np.full(len(same), at + 1))

    def may_visit(self, exits: int) -> tuple[int, ...]:
        return tuple(range(exits + 1))
