"""Hundreds of hostile files, made up anew for each commit: one law for all, in a child each. See helpers/hostile_cases."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest
from forked import Server
from hostile_cases import FOUND, GROUPS
from hostile_cases.case import Case, Stock, run_case
from hostile_cases.tally import MUTANTS, run_group
from sampling import counts, seed


@pytest.fixture(scope="session")
def server() -> Iterator[Server]:
    with closing(Server()) as started:
        yield started


@pytest.fixture(scope="session")
def stock(tmp_path_factory: pytest.TempPathFactory) -> Stock:
    return Stock(tmp_path_factory.mktemp("stock"))


@pytest.mark.parametrize("group", GROUPS)
@pytest.mark.parametrize("count", counts(quick=3, full=76, exhaustive=5000))
def test_a_hostile_case_is_answered_or_refused_in_lines(
    group: str, count: int, server: Server, stock: Stock, tmp_path: Path
) -> None:
    tally = run_group(group, range(count), seed(), stock=stock, server=server, kept=tmp_path)
    assert not tally.failures, "\n\n".join(tally.failures[:5])
    assert tally.cases == count


@pytest.mark.parametrize("count", counts(quick=2, full=30, exhaustive=2000))
def test_a_mutant_of_a_checkpoint_is_refused_or_answers_as_before(
    count: int, server: Server, stock: Stock, tmp_path: Path
) -> None:
    tally = run_group(MUTANTS, range(count), seed(), stock=stock, server=server, kept=tmp_path)
    assert not tally.failures, "\n\n".join(tally.failures[:5])
    assert tally.codes["answers 2"] > count / 2


@pytest.mark.parametrize("case", FOUND.values(), ids=FOUND)
def test_what_was_found_once(case: Callable[[], Case], server: Server, tmp_path: Path) -> None:
    run_case(case(), server, tmp_path / "place")


def test_a_number_is_a_case(stock: Stock) -> None:
    for group, case in GROUPS.items():
        if group in ("recipes", "images"):  # torch numbers some of what it saves by their addresses
            assert case(7, 1, stock) == case(7, 1, stock) != case(8, 1, stock)
