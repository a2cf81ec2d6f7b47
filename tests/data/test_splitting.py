"""Cutting splits: the laws that every cut keeps."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from coc_cli.data.splits import TEST, TRAIN, VALIDATION
from coc_cli.data.splitting import amount, cut_all, draw, scarce, stratified

SIZES = st.lists(st.integers(3, 60), min_size=2, max_size=12)


def labels_of(sizes: list[int]) -> np.ndarray:
    return np.random.default_rng(0).permutation(np.repeat(np.arange(len(sizes)), sizes))


@settings(max_examples=60, deadline=None)
@given(SIZES, st.floats(0.01, 0.5))
def test_a_cut_is_in_proportion_and_takes_of_every_class(sizes: list[int], share: float) -> None:
    labels = labels_of(sizes)
    total = amount(len(labels), share, len(sizes))
    taken = stratified(labels, total, 1)
    assert taken.sum() == total
    assert (taken >= 1).all()
    assert (taken < np.array(sizes)).all()
    wanted = np.array(sizes) * total / len(labels)
    spread = taken - np.maximum(wanted, 1)
    assert spread.max() < 1  # none has a whole image more than its part, or the one that it must give


@settings(max_examples=60, deadline=None)
@given(SIZES, st.floats(0.01, 0.5), st.floats(0.01, 0.5), st.integers(0, 5))
def test_three_splits_share_nothing_and_each_has_every_class(
    sizes: list[int], validation: float, test: float, seed: int
) -> None:
    labels = labels_of(sizes)
    given_splits = np.zeros(len(labels), dtype=np.int8)
    assert scarce(given_splits, labels, tuple("abcdefghijkl"[: len(sizes)])) == []
    parts = cut_all(given_splits, labels, validation=validation, test=test, seed=seed)
    assert sorted(np.concatenate(parts)) == list(range(len(labels)))
    assert all((np.bincount(labels[part], minlength=len(sizes)) > 0).all() for part in parts)


def test_a_cut_of_numbers_is_plain() -> None:
    given_splits = np.zeros(100, dtype=np.int8)
    parts = cut_all(given_splits, None, validation=0.1, test=0.2, seed=0)
    assert [len(part) for part in parts] == [72, 8, 20]
    other = cut_all(given_splits, None, validation=0.1, test=0.2, seed=1)
    assert set(parts[TEST]) != set(other[TEST])


def test_splits_that_are_given_stay() -> None:
    given_splits = np.array([TEST] * 5 + [TRAIN] * 20 + [VALIDATION] * 3, dtype=np.int8)
    parts = cut_all(given_splits, None, validation=0.5, test=0.5, seed=0)
    assert parts[VALIDATION].tolist() == [25, 26, 27]
    assert parts[TEST].tolist() == [0, 1, 2, 3, 4]
    assert sorted(parts[TRAIN]) == list(range(5, 25))


def test_a_limit_below_the_number_of_classes_still_draws() -> None:
    labels = np.arange(10).repeat(3)
    rest, drawn = draw(np.arange(30), labels, 4, [0])
    assert (len(rest), len(set(labels[drawn]))) == (26, 4)


@pytest.mark.parametrize(
    ("n", "share", "classes", "expected"), [(50_000, 0.1, 10, 5000), (7, 0.1, 3, 3), (15, 0.1, 0, 2)]
)
def test_amounts(n: int, share: float, classes: int, expected: int) -> None:
    assert amount(n, share, classes) == expected
