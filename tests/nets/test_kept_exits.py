"""Exits that are left out, and thresholds of each: what stays computes what it did, in a checkpoint and in an export."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from command_line import coc
from exportable import float_network, images_of, quantised
from pydantic import ValidationError

from coc_cli.errors import StageError
from coc_cli.learning.evaluation import exit_of
from coc_cli.nets.checkpoint import load, save
from coc_cli.nets.exit_rules import exit_scores
from coc_cli.nets.kept_exits import with_exits
from coc_cli.nets.network import Network
from coc_cli.nets.spec import ExitRule
from coc_cli.runtime.session import Session

SHAPE = {"depth": 14, "width": 4}


def network_of(head: str = "pool", bits: int | None = 4, measure: str = "max_softmax") -> Network:
    network = float_network("cifar:resnet20", SHAPE, measure=measure, exits=4, head=head)
    return network if bits is None else quantised(network, bits, bits)


def outputs_of(network: Network) -> list[torch.Tensor]:
    with torch.no_grad():
        return [output.clone() for output in network(network.normalise(images_of(network.spec).images))]


@pytest.mark.parametrize("head", ["pool", "bof"])
@pytest.mark.parametrize("bits", [None, 4])
@pytest.mark.parametrize("kept", [(1, 3), (0,), (), (0, 1, 2, 3)])
def test_what_is_kept_computes_what_it_did(head: str, bits: int | None, kept: tuple[int, ...], tmp_path: Path) -> None:
    network = network_of(head, bits)
    before = outputs_of(network)
    rule = ExitRule(measure="max_softmax", threshold=tuple(0.3 + 0.1 * e for e in kept) or 0.5, max_drop=0.1)
    smaller = with_exits(network, kept, rule)
    save(smaller, (), tmp_path / "m.safetensors")
    for one in (smaller, load(tmp_path / "m.safetensors")):
        after = outputs_of(one)
        assert len(after) == len(kept) + 1
        for place, exit_ in enumerate((*kept, 4)):
            torch.testing.assert_close(after[place], before[exit_], rtol=0, atol=1e-6)
    assert (smaller.spec.rule is None) == (not kept)
    names = {name.split(".")[1] for name in smaller.state_dict() if name.startswith("exits.")}
    assert names == {str(place) for place in range(len(kept))}


def test_each_exit_has_its_own_threshold_in_network_and_export(tmp_path: Path) -> None:
    network = network_of()
    scores = exit_scores(outputs_of(network), "max_softmax")[[0, 2]]
    thresholds = float(scores[0].quantile(0.7)) + 1e-5, float(scores[1].quantile(0.4)) + 1e-5
    smaller = with_exits(network, (0, 2), ExitRule(measure="max_softmax", threshold=thresholds, max_drop=0.1))
    fires = torch.stack([scores[0] >= thresholds[0], scores[1] >= thresholds[1], torch.ones(64) > 0])
    expected = fires.int().argmax(0)
    assert len(expected.unique()) == 3
    assert exit_of(outputs_of(smaller), smaller.spec.rule).tolist() == expected.tolist()
    images = images_of(network.spec).images
    assert smaller.predict(images).exit.tolist() == expected.tolist()
    save(smaller, (), tmp_path / "m.safetensors")
    coc("export", tmp_path / "m.safetensors", "--out", tmp_path / "export")
    session = Session(tmp_path / "export")
    np.testing.assert_array_equal(session.predict(images.numpy()).exit, expected)
    assert set(session.predict(images.numpy(), threshold=2.0).exit) == {2}
    assert (
        "passes " + ", ".join(f"{one:.4f}" for one in thresholds) in coc("inspect", tmp_path / "m.safetensors").stdout
    )


def test_thresholds_are_as_many_as_exits_and_agreement_needs_them_all() -> None:
    network = network_of(bits=None)
    rule = ExitRule(measure="max_softmax", threshold=(0.5, 0.5), max_drop=0.1)
    with pytest.raises(ValidationError, match="2 thresholds for 4 exits"):
        network.spec.with_changes(rule=rule)
    regressor = network_of(bits=None, measure="agreement")
    with pytest.raises(StageError, match="none of them can be left out"):
        with_exits(regressor, (1,), regressor.spec.rule)
