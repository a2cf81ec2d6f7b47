"""Which cases of a long table run when: a few in each run, a sample that turns with the commit in CI, all for a note.

    @pytest.mark.parametrize("order", tiered(ORDERS, quick=("DPQE",), full=6))

A case of a table has the marker `exhaustive`, and those of the quick and of the full tier have `quick` or `full` beside
it; never both. So `pytest -m exhaustive` runs the complete table, at the commit of the note.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from functools import cache
from typing import TypeVar

import checkout
import hypothesis
import pytest
from _pytest.mark.structures import ParameterSet
from hypothesis.strategies import SearchStrategy

Case = TypeVar("Case")


@cache
def seed() -> int:
    """Return the seed of all samples: the first eight digits of the commit's hash."""
    return int(checkout.commit()[:8], 16)


def sample(cases: Sequence[Case], count: int, by: int) -> list[Case]:
    """Return `count` of the cases, in their order, drawn by a seed."""
    places = random.Random(by).sample(range(len(cases)), min(count, len(cases)))
    return [cases[place] for place in sorted(places)]


def tiered(cases: Sequence[Case], *, quick: Sequence[Case], full: int, kept: Sequence[Case] = ()) -> list[ParameterSet]:
    """Return all cases with their tiers: those named in `quick`, `full` others by the commit and `kept`, and the rest."""
    assert all(case in cases for case in quick), f"{quick} are not all in the table"
    sampled = sample([case for case in cases if case not in (*quick, *kept)], full, seed())
    return [pytest.param(case, marks=_marks(case in quick, case in sampled or case in kept)) for case in cases]


def counts(*, quick: int, full: int, exhaustive: int) -> list[ParameterSet]:
    """Return how many random cases a test draws in each tier."""
    assert quick < full < exhaustive
    tiers = {quick: (), full: (pytest.mark.full,), exhaustive: (pytest.mark.exhaustive,)}
    return [pytest.param(count, marks=marks) for count, marks in tiers.items()]


def check_cases(count: int, check: Callable[..., None], **strategies: SearchStrategy[object]) -> None:
    """Hold so many random cases against a check; what is drawn turns with the commit."""
    limits = hypothesis.settings(max_examples=count, deadline=None, database=None)
    hypothesis.seed(seed())(limits(hypothesis.given(**strategies)(check)))()


def _marks(is_quick: bool, is_sampled: bool) -> list[pytest.MarkDecorator]:
    tier = [pytest.mark.quick] if is_quick else [pytest.mark.full] if is_sampled else []
    return [*tier, pytest.mark.exhaustive]
