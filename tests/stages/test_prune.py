"""Pruning removes real channels, the right ones, and cuts everything that belongs to them alike."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import torch_pruning as tp

from coc_cli.data.images import Data
from coc_cli.data.settings import Augment
from coc_cli.errors import StageError
from coc_cli.learning.training import Epoch
from coc_cli.nets import architectures
from coc_cli.nets.architectures import Architecture, resolve
from coc_cli.nets.cost import cost
from coc_cli.nets.network import Network, build
from coc_cli.nets.slicing import sliced
from coc_cli.nets.spec import Spec
from coc_cli.stages.channel_selection import backbone_macs, choose_channels
from coc_cli.stages.early_exit import EarlyExit
from coc_cli.stages.prune import Importance, Prune, PruneRule
from coc_cli.stages.pruning_widths import TOLERANCE
from coc_cli.stages.quantize import Quantize
from coc_cli.stages.stage import Lab


@pytest.fixture
def zoo(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("fixed", "branching", "grouped", "flat"):
        monkeypatch.setitem(architectures.ARCHITECTURES, f"zoo:{name}", Architecture(f"netzoo:{name}", {}, ()))


def of(spec: Spec, arch: str, **args: int) -> Spec:
    return spec.with_changes(arch=arch, args=resolve(arch, args))


def seen(spec: Spec) -> Network:
    """A network whose norms have seen something."""
    made = build(spec)
    made(torch.randn(16, *spec.input_shape))
    return made.eval()


@pytest.mark.parametrize("scope", ["global", "layer"])
@pytest.mark.parametrize("importance", Importance.__args__)
@pytest.mark.parametrize("ratio", [0.3, 0.7])
def test_the_share_of_macs_is_met_and_all_counts_fall(spec: Spec, scope: str, importance: str, ratio: float) -> None:
    spec = spec.with_changes(args={"depth": 14, "width": 8})
    stage = Prune(ratio=ratio, scope=scope, importance=importance)
    before = seen(spec)
    made = sliced(before, choose_channels(before, stage.selection, 1 - ratio))
    assert backbone_macs(made.spec) / backbone_macs(spec) == pytest.approx(1 - ratio, abs=TOLERANCE)
    assert cost(made.spec).params < cost(spec).params
    real = sum(p.numel() for p in made.parameters())
    assert real == cost(made.spec).params
    assert made(torch.zeros(2, 1, 8, 8))[-1].shape == (2, 3)


@pytest.mark.parametrize("arch", ["cifar:resnet20", "cifar:vgg19", "cifar:mobilenet_v2"])
def test_channels_that_are_zero_go_first_and_are_not_missed(spec: Spec, arch: str) -> None:
    spec = of(spec, arch, width=8)
    network = seen(spec)
    names = [name for name, m in network.backbone.named_modules() if isinstance(m, torch.nn.BatchNorm2d)]
    with torch.no_grad():
        for name in names:  # every second channel of every norm gives zero, wherever it goes
            norm = network.backbone.get_submodule(name)
            norm.weight[::2], norm.bias[::2] = 0.0, 0.0
        for layer in network.layers.values():
            layer.weight[::2] *= 1e-6 if layer is not list(network.layers.values())[-1] else 1.0
    keep = choose_channels(network, Prune(ratio=0.5).selection, 0.5)
    made = sliced(network, keep).eval()
    x = torch.randn(8, *spec.input_shape)
    torch.testing.assert_close(made(x)[-1], network(x)[-1], rtol=1e-4, atol=1e-4)
    assert keep.modules


def test_slicing_equals_what_the_library_would_have_left(spec: Spec) -> None:
    spec = EarlyExit(exits=("stages.0", "stages.1.0.relu1"), head="bof", max_drop=0.01).expect(spec)
    network = seen(spec)
    made = sliced(network, choose_channels(network, Prune(ratio=0.4).selection, 0.6)).eval()
    theirs = build(spec).eval()
    theirs.load_state_dict(network.state_dict())
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        graph = tp.DependencyGraph().build_dependency(theirs, example_inputs=torch.zeros(1, 1, 8, 8))
    for name, layer in theirs.layers.items():
        kept = _kept_rows(network, made, name)
        gone = [row for row in range(layer.weight.shape[0]) if row not in kept]
        if gone and layer.weight.shape[0] == network.layer(name).weight.shape[0]:
            graph.get_pruning_group(layer, tp.prune_conv_out_channels, gone).prune()
    x = torch.randn(4, 1, 8, 8)
    for ours, expected in zip(made(x), theirs(x), strict=True):
        torch.testing.assert_close(ours, expected)


def _kept_rows(network: Network, made: Network, name: str) -> set[int]:
    """Find a layer's output channels again by a sum over what does not change: its norm's running variance."""
    norms = {"conv1": "bn1", "conv2": "bn2", "0": "1"}
    parent, _, last = name.rpartition(".")
    norm = f"{parent}.{norms[last]}".strip(".") if last in norms and not name.startswith("exits") else None
    if norm is None:
        return set(range(network.layer(name).weight.shape[0]))
    before = network.layer(norm).running_var.tolist()
    after = set(made.layer(norm).running_var.tolist())
    return {row for row, value in enumerate(before) if value in after}


def test_quantised_weights_stay_on_their_grid(spec: Spec) -> None:
    network = seen(Quantize(weights=3, activations=4).expect(spec))
    for layer in network.layers.values():
        layer.calibrate()
    made = sliced(network, choose_channels(network, Prune(ratio=0.4).selection, 0.6))
    cut = 0
    for name, layer in made.layers.items():
        was = network.layer(name)
        assert set(layer.weight_scale.tolist()) <= set(was.weight_scale.tolist())
        assert set(layer.rounded_weight().unique().tolist()) <= set(was.rounded_weight().unique().tolist())
        cut += layer.weight.numel() < was.weight.numel()
    assert cut >= 5


def test_depthwise_convolutions_count_by_the_channels_left(spec: Spec) -> None:
    spec = of(spec, "cifar:mobilenet_v2", width=8)
    network = seen(spec)
    made = sliced(network, choose_channels(network, Prune(ratio=0.5).selection, 0.5))
    before, after = ({layer.name: layer.macs for layer in cost(net.spec).layers} for net in (network, made))
    depthwise = {n: m for n, m in made.layers.items() if isinstance(m, torch.nn.Conv2d) and m.groups > 1}
    assert len(depthwise) == 17
    for name, layer in depthwise.items():
        assert layer.groups == layer.in_channels == layer.out_channels
        area = before[name] // (9 * network.layer(name).out_channels)
        assert after[name] == area * 9 * layer.out_channels
    assert sum(layer.groups < network.layer(name).groups for name, layer in depthwise.items()) > 8


@pytest.mark.parametrize("importance", [pytest.param("group_norm", marks=pytest.mark.full), "random"])
def test_a_pruning_in_steps_resumes_to_the_same_bits(
    network: Network, data: Data, tmp_path: Path, importance: str
) -> None:
    stage = Prune(ratio=0.4, steps=2, epochs=2, batch=32, importance=importance)
    seen_epochs = []

    def stop(epoch: Epoch) -> None:
        seen_epochs.append(epoch)
        if len(seen_epochs) == 2:
            raise KeyboardInterrupt

    def lab(folder: str, log: Callable[[Epoch], None]) -> Lab:
        return Lab(data, Augment(), "cpu", 5, network, tmp_path / folder, log)

    with pytest.raises(KeyboardInterrupt):
        stage.apply(network, lab("broken", stop))
    resumed = stage.apply(network, lab("broken", lambda _: None))
    whole = stage.apply(network, lab("whole", lambda _: None))
    assert resumed.spec == whole.spec
    for (name, one), (_, other) in zip(resumed.state_dict().items(), whole.state_dict().items(), strict=True):
        assert torch.equal(one, other), name


def test_patterns_keep_layers_whole(spec: Spec) -> None:
    network = seen(spec.with_changes(args={"depth": 8, "width": 8}))
    stage = Prune(ratio=0.3, layers={"stages.0.*": PruneRule(prune=False)})
    made = sliced(network, choose_channels(network, stage.selection, 0.7))
    for name in ("stages.0.0.conv1", "stages.0.0.conv2", "conv1"):
        assert made.layer(name).weight.shape[0] == 8
    with pytest.raises(StageError, match=r"pattern 'stage.1' matches no layer"):
        choose_channels(network, Prune(ratio=0.3, layers={"stage.1": PruneRule(prune=False)}).selection, 0.7)


def test_wide_layers_keep_multiples_of_eight(spec: Spec) -> None:
    network = seen(spec.with_changes(args={"depth": 8, "width": 32}))
    made = sliced(network, choose_channels(network, Prune(ratio=0.5).selection, 0.5))
    widths = {name: layer.weight.shape[0] for name, layer in made.layers.items()}
    assert all(widths[name] % 8 == 0 for name in widths if network.layer(name).weight.shape[0] >= 64)
    assert any(width % 8 for name, width in widths.items() if network.layer(name).weight.shape[0] == 32)


def test_a_ratio_out_of_reach_says_how_near_it_comes(spec: Spec) -> None:
    held = {"*": PruneRule(prune=False), "stages.2.0.conv1": PruneRule(prune=True)}
    with pytest.raises(StageError, match=r"cannot leave 10.0% of the MACs, the nearest is 7\d.\d%") as caught:
        Prune(ratio=0.9, layers=held).expect(spec)
    assert caught.value.key == "ratio"
    with pytest.raises(StageError, match="no layer of this network can be pruned"):
        Prune(ratio=0.5, layers={"*": PruneRule(prune=False)}).expect(spec)


@pytest.mark.usefixtures("zoo")
def test_concatenation_and_bare_parameters(spec: Spec) -> None:
    network = seen(of(spec, "zoo:grouped"))
    made = sliced(network, choose_channels(network, Prune(ratio=0.5, scope="layer").selection, 0.5)).eval()
    assert made.layer("stem").out_channels < 8
    assert made.backbone.scale.shape == (1, made.layer("stem").out_channels, 1, 1)
    assert made.layer("grouped").groups == 2
    assert made.layer("linear").in_features == made.layer("left").out_channels + made.layer("right").out_channels
    assert made(torch.zeros(2, 1, 8, 8))[-1].shape == (2, 3)


@pytest.mark.usefixtures("zoo")
def test_what_cannot_be_pruned_or_traced_names_the_layer(spec: Spec) -> None:
    with pytest.raises(StageError) as caught:
        Prune(ratio=0.3).expect(of(spec, "zoo:fixed"))
    assert caught.value.what == (
        "no layer of this network can be pruned: each is held by a pattern or tied to the output; layer 'conv' keeps its"
        " channels: reshape behind 'conv' needs all 8"
    )
    with pytest.raises(StageError, match=r"cannot be traced: in the network"):
        build(of(spec, "zoo:branching"))
