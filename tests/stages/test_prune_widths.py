"""Pruned widths are those that the graph allows; what a plan finds possible never fails because of a width."""

from __future__ import annotations

import re
from pathlib import Path

import channelzoo
import pytest
import torch
from hypothesis import strategies
from models_table import TABLE
from sampling import check_cases, counts

from coc_cli.data.images import Data
from coc_cli.data.settings import Augment
from coc_cli.errors import StageError
from coc_cli.nets.architectures import resolve
from coc_cli.nets.network import Network, build
from coc_cli.nets.slicing import sliced
from coc_cli.nets.spec import Spec
from coc_cli.stages.channel_selection import (
    LayerRule,
    Selection,
    SelectionSettings,
    backbone_macs,
    can_reach,
    choose_channels,
)
from coc_cli.stages.prune import Prune, PruneRule
from coc_cli.stages.pruning_widths import TOLERANCE
from coc_cli.stages.stage import Lab

zoo = channelzoo.zoo
pytestmark = pytest.mark.usefixtures("zoo")
FOLLOWED = tuple(name for name in channelzoo.NAMES if name not in {"FixedView", "Attention"})


def widths(network: Network) -> dict[str, int]:
    return {name: layer.weight.shape[0] for name, layer in network.layers.items()}


@pytest.mark.parametrize("count", counts(quick=12, full=200, exhaustive=3000))
def test_what_a_plan_finds_possible_is_possible_whatever_the_weights(count: int) -> None:
    def check(name: str, ratio: float, scope: str, round_to: int | None, seed: int) -> None:
        spec = channelzoo.spec_of(name)
        stage = Prune(ratio=ratio, scope=scope, importance="random", round_to=round_to)
        try:
            expected = stage.expect(spec)
        except StageError as error:
            assert error.what.startswith(("cannot leave", "no layer of this network can be pruned"))  # noqa: PT017
            return
        torch.manual_seed(seed)
        network = build(spec).eval()
        made = sliced(network, choose_channels(network, stage.selection, 1 - ratio))
        made.eval()(torch.zeros(1, *spec.input_shape))
        made_for_plan = build(expected, device="meta").eval()
        made_for_plan(torch.empty(1, *spec.input_shape, device="meta"))
        if round_to is None:
            assert backbone_macs(made.spec) / backbone_macs(spec) == pytest.approx(1 - ratio, abs=TOLERANCE)
            assert backbone_macs(expected) / backbone_macs(spec) == pytest.approx(1 - ratio, abs=TOLERANCE)

    check_cases(
        count,
        check,
        name=strategies.sampled_from(channelzoo.NAMES),
        ratio=strategies.floats(0.05, 0.9),
        scope=strategies.sampled_from(["global", "layer"]),
        round_to=strategies.sampled_from([None, None, 2, 4]),
        seed=strategies.integers(0, 1000),
    )


@pytest.mark.parametrize("name", [FOLLOWED[0], *[pytest.param(name, marks=pytest.mark.full) for name in FOLLOWED[1:]]])
def test_a_pruning_in_steps_arrives(name: str, data: Data, tmp_path: Path) -> None:
    spec = channelzoo.spec_of(name)
    network = build(spec)
    lab = Lab(data, Augment(), "cpu", 5, network, tmp_path, lambda _: None)
    made = Prune(ratio=0.5, steps=4, epochs=0, importance="random").apply(network, lab)
    assert backbone_macs(made.spec) / backbone_macs(spec) == pytest.approx(0.5, abs=TOLERANCE)


def test_a_step_that_would_bar_the_way_is_left_to_the_next(
    network: Network, data: Data, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("coc_cli.stages.channel_selection.can_reach", lambda *_: False)
    lab = Lab(data, Augment(), "cpu", 5, network, tmp_path, lambda _: None)
    made = Prune(ratio=0.5, steps=3, epochs=0).apply(network, lab)
    at_once = Prune(ratio=0.5, epochs=0).apply(network, lab)
    assert made.spec == at_once.spec
    monkeypatch.undo()
    assert can_reach(network, SelectionSettings(), 0.5)
    assert not can_reach(network, SelectionSettings(rules={"*": LayerRule(prunable=False)}), 0.5)


def test_widths_are_multiples_of_what_the_recipe_says(spec: Spec) -> None:
    network = build(spec.with_changes(args={"depth": 8, "width": 16}))
    stage = Prune(ratio=0.5, round_to=4, layers={"stages.2.0.conv1": PruneRule(round_to=16)})
    made = sliced(network, choose_channels(network, stage.selection, 0.5))
    assert all(width % 4 == 0 for name, width in widths(made).items() if name != "linear")
    assert widths(made)["stages.2.0.conv1"] % 16 == 0
    assert any(width % 8 for name, width in widths(made).items() if name != "linear")


def test_rounded_widths_keep_the_graphs_steps() -> None:
    network = build(channelzoo.spec_of("ChannelShuffle"))
    selection = Selection(network, SelectionSettings(round_to=6))
    names = {selection.channels.groups[choice.bundle.groups[0]].name: choice.options for choice in selection.choices}
    assert names == {"stem.0": [6, 12, 16], "one.0": [12, 24], "two.0": [12, 16], "last.0": [6, 12]}


def test_the_plan_says_which_shares_rounded_widths_allow(spec: Spec) -> None:
    narrow = spec.with_changes(args=resolve("cifar:resnet20", {"depth": 8, "width": 8}))
    stage = Prune(ratio=0.5, round_to=8)
    promise, rounded = stage.notes(narrow)
    assert promise == "widths depend on the weights; the MACs left will be 50% as near as widths allow"
    assert rounded.startswith("widths are multiples of round_to, so near 50% they leave ")
    nearest = float(rounded.rpartition(", ")[2].rstrip("%")) / 100
    left = backbone_macs(stage.expect(narrow)) / backbone_macs(narrow)
    assert left == pytest.approx(nearest, abs=0.0006)
    assert abs(left - 0.5) > TOLERANCE
    with pytest.raises(StageError, match=r"cannot leave 50.0% of the MACs, the nearest is"):
        Prune(ratio=0.5, layers={"*": PruneRule(prune=False), "stages.2.0.conv1": PruneRule(round_to=16)}).expect(
            narrow
        )


def test_notes_name_the_operation_that_keeps_channels() -> None:
    promise, kept = Prune(ratio=0.3).notes(channelzoo.spec_of("Attention"))
    assert promise == "widths depend on the weights; the MACs left will be 70% within 2%"
    assert kept == "layers 'query', 'key', 'value' keep their channels: matmul behind 'query' takes them together"
    with pytest.raises(StageError) as caught:
        Prune(ratio=0.9).expect(channelzoo.spec_of("FixedView"))
    assert caught.value.what == (
        "cannot leave 10.0% of the MACs, the nearest is 47.6%: the other channels are held or too few; layer 'stem.0'"
        " keeps its channels: reshape behind 'stem.2' needs all 16"
    )


@pytest.mark.full
def test_an_error_names_few_reasons_and_a_plan_more() -> None:
    pytest.importorskip("timm", reason="timm is not installed: pip install 'coc-cli[timm]'")
    spec = next(row.spec for row in TABLE if row.arch == "timm:mixnet_s")
    with pytest.raises(StageError) as caught:
        Prune(ratio=0.6).expect(spec)
    *reasons, more = caught.value.what.split("; ")
    assert reasons[1] == "layer 'conv_stem' keeps its channels: split behind 'blocks.0.0.drop_path' needs all 16"
    assert len(reasons) == 3
    assert re.fullmatch(r"\d\d more keep theirs for reasons of the kind", more)
    assert len(Prune(ratio=0.2).notes(spec)) == 8


def test_a_rule_of_a_layer_need_not_say_whether_to_prune() -> None:
    stage = Prune(ratio=0.5, layers={"a": PruneRule(round_to=4), "b": PruneRule(prune=False)})
    assert stage.selection.rules == {"a": LayerRule(round_to=4), "b": LayerRule(prunable=False)}
    assert stage.is_rounded
    assert not Prune(ratio=0.5, layers={"b": PruneRule(prune=False)}).is_rounded
