"""Pruning knows where each channel goes: what gives zero is not missed, on networks of all kinds."""

from __future__ import annotations

import warnings

import channelzoo
import pytest
import torch
import torch_pruning as tp
from models_table import TABLE, Row
from sampling import tiered
from torch import nn
from zeroing import check_not_missed, seen

from coc_cli.errors import StageError
from coc_cli.nets.graph import WEIGHTED
from coc_cli.nets.names import is_head, layer_at
from coc_cli.nets.network import Network, build
from coc_cli.nets.slicing import sliced
from coc_cli.nets.spec import Spec
from coc_cli.stages.channel_groups import Channels, occurrence
from coc_cli.stages.channel_selection import Selection, SelectionSettings, choose_channels
from coc_cli.stages.early_exit import EarlyExit
from coc_cli.stages.importance import IMPORTANCES, channel_scores
from coc_cli.stages.quantize import Quantize

zoo = channelzoo.zoo
pytestmark = pytest.mark.usefixtures("zoo")
BY_ARCH = {row.arch: row for row in TABLE}
QUICK = ("torchvision:shufflenet_v2_x0_5", "timm:ghostnet_050", "cifar:mobilenet_v2")
STEPS = {  # by network: its bundles by their layers, each with its parts and step
    "Normed": {"stem.0": (16, 4), "one.0 two.0": (8, 1), "last.0": (12, 1)},
    "Chunked": {"stem.0": (16, 1), "one.0": (10, 1), "wide.0": (10, 10), "last.0": (12, 1)},
    "Gated": {"stem.0": (8, 1), "last.0": (12, 1)},
    "Shuffled": {"stem.0": (4, 1), "mid.0": (4, 1), "last.0": (12, 1)},
    "SpaceToDepth": {"stem.0": (16, 1), "last.0": (12, 1)},
    "ChannelShuffle": {"stem.0": (16, 2), "one.0": (24, 4), "two.0": (16, 4), "last.0": (12, 1)},
    "Padded": {"stem.0": (16, 1), "last.0": (12, 1)},
    "Flattened": {"stem.0": (16, 1), "first": (12, 1)},
    "Scaled": {"stem.0": (16, 1), "squeeze.0": (4, 1), "last.0": (12, 1)},
    "Transposed": {"stem.0": (16, 1), "up": (12, 1), "narrow.0": (16, 1), "last.0": (12, 1)},
    "Rearranged": {"stem.0": (16, 2), "last.0": (12, 1)},
    "FixedView": {"stem.0": (16, 16), "last.0": (12, 1)},
    "Attention": {"stem.0": (16, 1), "after.0": (16, 1), "last.0": (12, 1)},
    "Custom": {"stem.0": (16, 1), "last.0": (12, 1)},
}
NOTES = {
    "Chunked": ["layer 'wide.0' keeps its channels: split behind 'wide.2' needs all 20"],
    "Padded": [
        "layer 'wide.0' keeps at least 8 of its 24 channels: add behind 'stem.2' joins them with what no layer makes:"
        " padding, a constant or the image"
    ],
    "FixedView": ["layer 'stem.0' keeps its channels: reshape behind 'stem.2' needs all 16"],
    "Attention": ["layers 'query', 'key', 'value' keep their channels: matmul behind 'query' takes them together"],
}


@pytest.mark.parametrize("name", channelzoo.NAMES)
def test_what_may_go_and_what_stays_and_why(name: str) -> None:
    selection = Selection(build(channelzoo.spec_of(name), device="meta"), SelectionSettings())
    groups = selection.channels.groups
    bundles = {" ".join(groups[i].name for i in b.groups): (b.parts, b.step) for b in selection.channels.bundles}
    assert bundles == STEPS[name]
    assert selection.notes() == NOTES.get(name, [])


@pytest.mark.parametrize("importance", ["group_norm", "random"])
@pytest.mark.parametrize("name", channelzoo.NAMES)
def test_small_networks_do_not_miss_what_gives_zero(name: str, importance: str) -> None:
    network = seen(build(channelzoo.spec_of(name)))
    for fraction in (0.85, 0.6, 0.35):
        keep = choose_channels(network.float(), SelectionSettings(importance), fraction, exactly=False)
        assert keep.modules
        check_not_missed(network, keep)


@pytest.mark.parametrize("arch", tiered(list(BY_ARCH), quick=QUICK, full=8))
def test_architectures_do_not_miss_what_gives_zero(arch: str) -> None:
    if arch.startswith("timm:"):
        pytest.importorskip("timm", reason="timm is not installed: pip install 'coc-cli[timm]'")
    try:
        network = seen(build(BY_ARCH[arch].spec))
    except StageError as error:
        pytest.skip(f"does not come in, see tests/nets/test_models.py: {error.what}")
    check_not_missed(network, choose_channels(network, SelectionSettings("random"), 0.6, exactly=False))


@pytest.mark.parametrize("size", [pytest.param("1_0", marks=pytest.mark.full), "0_5"])
def test_a_shuffled_network_keeps_its_halves(size: str) -> None:
    spec = Row(f"torchvision:shufflenet_v2_x{size}").spec
    channels = Channels(build(spec, device="meta"))
    tied = [bundle for bundle in channels.bundles if len(bundle.groups) > 1]
    assert [(len(bundle.groups), bundle.step) for bundle in tied] == [(5, 1), (9, 1), (5, 1)]
    assert all(bundle.parts == len(channels.groups[index]) for bundle in tied for index in bundle.groups)


def test_group_norms_keep_the_same_channels_together() -> None:
    network = build(channelzoo.spec_of("Normed"))
    keep = choose_channels(network, SelectionSettings("random"), 0.6)
    for path, groups in (("backbone.norm", 4), ("backbone.joint", 3)):
        width = network.get_submodule(path).num_channels
        kept = keep.indices[f"{path}.weight"]
        assert kept.view(groups, -1).div(width // groups, rounding_mode="floor").eq(torch.arange(groups)[:, None]).all()


def test_exits_and_quantisers_are_cut_along(spec: Spec) -> None:
    exits = EarlyExit(exits=("stages.0", "stages.1.0.relu1"), head="bof", max_drop=0.01).expect(spec)
    network = seen(build(exits))
    check_not_missed(network, choose_channels(network, SelectionSettings(), 0.6))
    rounded = seen(build(Quantize(weights=4, activations=8).expect(exits)))
    plain, fine = Channels(build(exits, device="meta")), Channels(rounded)
    assert [group.members for group in fine.groups] == [group.members for group in plain.groups]
    made = sliced(rounded, choose_channels(rounded, SelectionSettings(), 0.6))
    assert [output.shape for output in made(torch.zeros(2, *spec.input_shape))] == [(2, 3)] * 3


def test_a_pruned_network_can_be_pruned_again() -> None:
    network = seen(build(channelzoo.spec_of("ChannelShuffle")))
    for _ in range(3):
        keep = choose_channels(network.float(), SelectionSettings(), 0.75, exactly=False)
        check_not_missed(network, keep)
        network = seen(sliced(network.float(), keep))


def test_occurrences_are_counted() -> None:
    assert occurrence(torch.tensor([5, 3, 5, 5, 3, 1]).numpy()).tolist() == [0, 0, 1, 2, 1, 0]


ORACLE = ("cifar:resnet34", "cifar:vgg19", "cifar:mobilenet_v2", "torchvision:densenet121", "torchvision:squeezenet1_1")
ORACLE_FULL = ("torchvision:resnet50", "torchvision:mobilenet_v3_small", "torchvision:efficientnet_b0")


@pytest.mark.parametrize(
    "arch", [*ORACLE[:1], *[pytest.param(arch, marks=pytest.mark.full) for arch in (*ORACLE[1:], *ORACLE_FULL)]]
)
def test_groups_are_those_of_torch_pruning(arch: str) -> None:
    network = build(BY_ARCH[arch].spec).eval()
    assert _ours(network) == _theirs(network)


Parts = set[frozenset[tuple[str, str, int]]]


def _ours(network: Network) -> Parts:
    channels = Channels(network)
    whole, parts = channels.whole, []
    for index, group in enumerate(channels.groups):
        part = set()
        for path, labels in whole.found.rows.items():
            part.add((layer_at(path), "out", int((whole.group_of[whole.of_label[labels]] == index).sum())))
            read = whole.found.columns[path]
            if getattr(network.get_submodule(path), "groups", 1) == 1:
                part.add((layer_at(path), "in", int((whole.group_of[whole.of_label[read]] == index).sum())))
        if group.why_kept is None:
            parts.append(frozenset(each for each in part if each[2]))
    return set(parts)


def _theirs(network: Network) -> Parts:
    names = {module: layer_at(path) for path, module in network.named_modules()}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        graph = tp.DependencyGraph().build_dependency(network, example_inputs=torch.zeros(1, *network.spec.input_shape))
    last = [name for name in network.layers if not is_head(name)][-1]
    parts = []
    kinds = [nn.Conv2d, nn.Linear]
    for members in graph.get_all_groups(ignored_layers=[network.layer(last)], root_module_types=kinds):
        part = set()
        for dep, indices in members:
            module = dep.target.module
            if isinstance(module, WEIGHTED):
                is_in = graph.is_in_channel_pruning_fn(dep.handler) and getattr(module, "groups", 1) == 1
                part.add((names[module], "in" if is_in else "out", len(indices)))
        parts.append(frozenset(part))
    return set(parts)


def test_importances_are_what_their_formulas_say(spec: Spec) -> None:
    network = seen(build(spec.with_changes(args={"depth": 8, "width": 4})))
    channels = Channels(network)
    found = {name: channel_scores(channels, name) for name in IMPORTANCES if name != "random"}
    for index, group in enumerate(channels.groups):
        if group.why_kept is not None:
            continue
        sums, scales, first = _by_hand(network, group.name, len(group))
        torch.testing.assert_close(found["group_norm"][index], sums / sums.mean())
        torch.testing.assert_close(found["magnitude"][index], first)
        torch.testing.assert_close(found["bn_scale"][index], scales / scales.mean())
        lamp = torch.stack([value / sums[sums >= value].sum() for value in sums])
        torch.testing.assert_close(found["lamp"][index], lamp)
    torch.manual_seed(1)
    one = channel_scores(channels, "random")
    torch.manual_seed(1)
    assert all(torch.equal(score, one[index]) for index, score in channel_scores(channels, "random").items())


def _by_hand(network: Network, name: str, count: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return w^2 over all that reads and writes the channels of ResNet-8's groups, the norms' |g|, and the first |w|."""
    stage = {"conv1": 0, "stages.1.0.conv2": 1, "stages.2.0.conv2": 2}.get(name)
    outs = {
        "stages.0.0.conv1": (["stages.0.0.conv1"], ["stages.0.0.bn1"], ["stages.0.0.conv2"]),
        "stages.1.0.conv1": (["stages.1.0.conv1"], ["stages.1.0.bn1"], ["stages.1.0.conv2"]),
        "stages.2.0.conv1": (["stages.2.0.conv1"], ["stages.2.0.bn1"], ["stages.2.0.conv2"]),
    }
    shortcut = {
        path.removeprefix("backbone."): module
        for path, module in network.named_modules()
        if "shortcut" in path or "downsample" in path
    }
    convs = [path for path, module in shortcut.items() if isinstance(module, nn.Conv2d)]
    norms = [path for path, module in shortcut.items() if isinstance(module, nn.BatchNorm2d)]
    of = {f"stages.{at}": [path for path in (*convs, *norms) if path.startswith(f"stages.{at}")] for at in (1, 2)}
    if stage is not None:
        made = ["conv1", "stages.0.0.conv2"] if stage == 0 else [f"stages.{stage}.0.conv2"]
        scaled = ["bn1", "stages.0.0.bn2"] if stage == 0 else [f"stages.{stage}.0.bn2"]
        read = ["stages.0.0.conv1"] if stage == 0 else []
        if stage:
            made += [path for path in of[f"stages.{stage}"] if path in convs]
            scaled += [path for path in of[f"stages.{stage}"] if path in norms]
        if stage < 2:
            read += [f"stages.{stage + 1}.0.conv1", *[path for path in of[f"stages.{stage + 1}"] if path in convs]]
        else:
            read += [path for path in network.layers if isinstance(network.layer(path), nn.Linear)]
    else:
        made, scaled, read = outs[name]
    sums, scales = torch.zeros(count), torch.zeros(count)
    for path in made:
        sums += network.layer(path).weight.detach().pow(2).flatten(1).sum(1)
    for path in read:
        sums += network.layer(path).weight.detach().pow(2).transpose(0, 1).flatten(1).sum(1)
    for path in scaled:
        sums += network.layer(path).weight.detach().pow(2)
        scales += network.layer(path).weight.detach().abs()
    return sums, scales, network.layer(name).weight.detach().abs().flatten(1).sum(1)
