"""Balance: how often an epoch draws each image, by hand and by counting."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from coc_cli.data import sources
from coc_cli.data.balance import balanced_weights, tenths
from coc_cli.data.images import Data, Split
from coc_cli.data.reading import balanced
from coc_cli.data.settings import DataSettings

UNEVEN = np.repeat([0, 1], [900, 100])


@pytest.mark.parametrize(("balance", "often", "rarely"), [(0.0, 1, 1), (0.5, 2.5, 750 / 900), (1.0, 5, 500 / 900)])
def test_weights_by_hand(balance: float, often: float, rarely: float) -> None:
    weights = balanced_weights(UNEVEN, balance)
    assert weights[-1] == pytest.approx(often)
    assert weights[0] == pytest.approx(rarely)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(0, 400), min_size=1, max_size=10), st.floats(0, 1))
def test_an_epoch_keeps_its_length_and_none_is_drawn_more_than_ten_times(sizes: list[int], balance: float) -> None:
    sizes[0] += 1
    weights = balanced_weights(np.repeat(np.arange(len(sizes)), sizes), balance, bounded=True)
    assert weights.sum() == pytest.approx(sum(sizes))
    assert weights.max() <= 10 * (1 + 1e-9)


def test_numbers_are_balanced_by_tenths_of_their_range() -> None:
    numbers = np.array([0.0, 0.99, 1.0, 5.0, 9.99, 10.0])
    assert tenths(numbers).tolist() == [0, 0, 1, 5, 9, 9]
    assert tenths(np.full(3, 7.0)).tolist() == [0, 0, 0]
    lone = np.append(np.zeros(999), 1.0)
    assert balanced_weights(tenths(lone), 1.0, bounded=True)[-1] == pytest.approx(10)
    assert balanced_weights(tenths(lone), 1.0)[-1] == pytest.approx(500), "without the bound"


def uneven(data: Data) -> Data:
    """Of the tiny training images 24 of class a, 6 of b and none of c."""
    rows = torch.cat([torch.arange(0, 72, 3), torch.arange(1, 19, 3)])
    return replace(data, train=data.train.some(rows))


def drawn(split: Split, seed: int) -> torch.Tensor:
    return torch.cat(list(split.shuffled(16, torch.Generator().manual_seed(seed))))


def test_an_epoch_draws_classes_equally_often(data: Data) -> None:
    plain = uneven(data)
    even = balanced(plain, 1.0).train
    assert balanced(plain, 0.0) is plain
    orders = [drawn(even, seed) for seed in range(40)]
    assert {len(order) for order in orders} == {30}
    counts = plain.train.targets[torch.cat(orders)].bincount().tolist()
    assert counts[0] == pytest.approx(600, abs=60)
    assert torch.equal(drawn(even, 5), drawn(even, 5))
    assert not torch.equal(drawn(even, 5), drawn(even, 6))
    assert sorted(drawn(plain.train, 5).tolist()) == list(range(30))


def test_weights_follow_their_images(data: Data) -> None:
    split = balanced(uneven(data), 1.0).train
    assert split.weights is not None
    some = split.some(torch.tensor([29, 0]))
    assert some.weights is not None
    assert some.weights.tolist() == [split.weights[29], split.weights[0]]


def test_numbers_and_what_is_held_out(numbers: Data) -> None:
    wanted = DataSettings(source="digits-rotation", limit=100, holdout=0.2, balance=1.0)
    data = sources.read(wanted, 0, cache=Path("unused"))
    assert data.train.weights is not None
    assert len(data.train.weights) == len(data.train) == 80
    assert data.validation.weights is None
    weights = balanced(numbers, 1.0).train.weights
    assert weights is not None
    assert torch.allclose(weights, torch.ones(96, dtype=torch.float64)), "three values, equally often"
