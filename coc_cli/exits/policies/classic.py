"""No exit at all: what everything is compared with."""

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
class Classic(Policy):
    """Every input runs to the final output, and no head runs."""

    name: ClassVar[str] = "classic"
    family: ClassVar[Family] = "none"

    @classmethod
    def shapes(cls, context: PolicyContext) -> Iterator[Policy]:  # noqa: ARG003
        yield cls()

    def first(self, trace: Trace) -> Array:
        return np.full(len(trace), trace.exits)

    def decide(self, trace: Trace, at: int, inputs: Inputs) -> Decision:  # noqa: ARG002
        raise AssertionError("classic visits no inner exit")

    def may_visit(self, exits: int) -> tuple[int, ...]:
        return (exits,)
