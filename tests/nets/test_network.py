"""A network is its spec and its tensors: tracing, quantisers' places, rebuilding."""

from __future__ import annotations

import copy
import math

import pytest
import torch
from torch import nn

from coc_cli.errors import StageError
from coc_cli.learning.evaluation import exit_of
from coc_cli.nets import architectures, tracing
from coc_cli.nets.architectures import resolve
from coc_cli.nets.cost import cost
from coc_cli.nets.entry import raw
from coc_cli.nets.exit_rules import exit_score, exit_scores, leaves
from coc_cli.nets.network import Network, build, fresh, with_spec
from coc_cli.nets.precision import LayerBits, Precision, precision_of, with_precision
from coc_cli.nets.spec import ExitRule, Scale, Spec
from coc_cli.stages.early_exit import EarlyExit

PRECISION = Precision(LayerBits(8, 8), LayerBits(2, 3), LayerBits(7, 6), residual=5)


def test_traced_equals_original_in_train_and_in_eval(network: Network, images: torch.Tensor) -> None:
    for mode in (True, False):
        original = raw(network.spec).train(mode)
        made = fresh(network.spec, copy.deepcopy(original)).train(mode)
        torch.testing.assert_close(made(images)[-1], original(images))
        for name, buffer in original.named_buffers():
            torch.testing.assert_close(made.backbone.get_buffer(name), buffer, check_dtype=False, msg=name)


def test_every_norm_moves_after_train_and_none_after_eval(network: Network, images: torch.Tensor) -> None:
    norms = {name: m for name, m in network.named_modules() if isinstance(m, nn.BatchNorm2d)}
    assert len(norms) == 9
    before = {name: norm.running_mean.clone() for name, norm in norms.items()}
    network.eval()(images)
    assert all(torch.equal(norms[name].running_mean, before[name]) for name in norms)
    network.train()(images)
    assert not any(torch.equal(norms[name].running_mean, before[name]) for name in norms)


def with_exits(spec: Spec, *names: str, head: str = "pool") -> Spec:
    return EarlyExit(exits=names, head=head, max_drop=0.01).expect(spec)


def test_segments_compose_to_the_whole(spec: Spec, images: torch.Tensor) -> None:
    made = build(with_exits(spec, "relu1", "stages.0.0.relu1", "stages.1.0")).eval()
    assert [len(piece.outputs) for piece in made.segments] == [2, 3, 2, 1]  # inside a block the shortcut lives too
    whole = build(spec).eval()
    whole.load_state_dict(made.state_dict(), strict=False)
    assert torch.equal(made(images)[-1], whole(images)[-1])
    assert len(made(images)) == 4


def test_an_exit_at_no_place_is_named(spec: Spec) -> None:
    with pytest.raises(StageError, match=r"no exit can be behind 'stages.0.1'; did you mean 'stages.0.0'\?"):
        with_exits(spec, "stages.0.1")


def test_what_cannot_be_traced_says_where() -> None:
    class Inner(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(1, 1, 1)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.conv(x) if x.sum() > 0 else x

    with pytest.raises(StageError, match=r"cannot be traced: in 0: bool decides by the values of a tensor"):
        tracing.trace(nn.Sequential(Inner()), (1, 4, 4))


def test_quantisers_stand_between_all_layers_and_on_both_operands_of_sums(spec: Spec) -> None:
    expected = with_precision(spec, PRECISION)
    bits = {name: (edge.bits, edge.signed) for name, edge in expected.edges.items()}
    assert {edge.low for name, edge in expected.edges.items() if name != "x"} == {None}
    assert expected.edges["x"].low == -128  # signed, of 8 bits
    assert bits == {
        "x": (8, True),
        "backbone_relu1": (5, False),  # enters the first block's sum
        "backbone_relu1_to3": (3, False),  # the block's convolution wants fewer
        "backbone_stages_0_0_relu1": (3, False),
        "backbone_stages_0_0_bn2": (5, True),
        "backbone_stages_0_0_relu2": (3, False),  # the next block has a convolution as shortcut: not summed
        "backbone_stages_1_0_relu1": (3, False),
        "backbone_stages_1_0_bn2": (5, True),
        "backbone_stages_1_0_shortcut_1": (5, True),
        "backbone_stages_1_0_relu2": (3, False),
        "backbone_stages_2_0_relu1": (3, False),
        "backbone_stages_2_0_bn2": (5, True),
        "backbone_stages_2_0_shortcut_1": (5, True),
        "backbone_stages_2_0_relu2": (5, False),  # the last sum, which the pool averages
        "backbone_flatten": (6, False),
    }
    reads = build(expected).input_bits()
    assert reads == {name: 8 if name == "conv1" else 6 if name == "linear" else 3 for name in reads}
    assert expected.bits == {name: 8 if name == "conv1" else 7 if name == "linear" else 2 for name in reads}


def test_bits_by_role_are_read_back(spec: Spec) -> None:
    assert precision_of(spec) is None
    assert precision_of(with_precision(spec, PRECISION)) == PRECISION


@pytest.mark.parametrize(
    ("arch", "args", "key", "text"),
    [
        ("cifar:resnet21", {}, "arch", "no such architecture 'cifar:resnet21'; did you mean 'cifar:resnet20'?"),
        ("cifar:resnet20", {"depth": 9}, "depth", "cifar:resnet20 has no depth 9; it has 8, 14, 20"),
        ("cifar:resnet20", {"width": 0}, "width", "needs a whole number from 1 to 4096, got 0"),
        ("cifar:resnet20", {"breadth": 1}, "breadth", "cifar:resnet20 takes no 'breadth'; it takes: depth, width"),
    ],
)
def test_unknown_architectures_and_arguments(arch: str, args: dict[str, int], key: str, text: str) -> None:
    with pytest.raises(StageError) as caught:
        resolve(arch, args)
    assert caught.value.key == key
    assert caught.value.what.startswith(text)


def test_the_families_have_their_depth_in_layers() -> None:
    for arch in architectures.ARCHITECTURES:
        args = resolve(arch, {"width": 2})
        made = architectures.create(arch, args, outputs=3, channels=3)
        shortcuts = sum("shortcut" in name for name, m in made.named_modules() if isinstance(m, nn.Conv2d))
        layers = sum(isinstance(m, nn.Conv2d | nn.Linear) for m in made.modules())
        hidden = 2 if arch == "cifar:vgg19" else 0  # the two linear layers that are left out
        assert layers - shortcuts + hidden == args.get("depth", layers)


def test_pruned_shapes_rebuild(spec: Spec) -> None:
    narrow = spec.with_changes(
        modules={
            "stages.0.0.conv1": {"in": 4, "out": 3, "groups": 1},
            "stages.0.0.bn1": {"features": 3},
            "stages.0.0.conv2": {"in": 3, "out": 4, "groups": 1},
        }
    )
    made = build(narrow)
    assert made(torch.zeros(2, 1, 8, 8))[-1].shape == (2, 3)
    shapes = {name: tuple(made.layer(name).weight.shape) for name in ("stages.0.0.conv1", "stages.0.0.conv2")}
    assert shapes == {"stages.0.0.conv1": (3, 4, 3, 3), "stages.0.0.conv2": (4, 3, 3, 3)}


@pytest.mark.parametrize(
    ("arch", "conv", "block"), [("cifar:resnet34", 32, 16), ("cifar:vgg19", 20, 20), ("cifar:resnet20", 18, 9)]
)
def test_the_papers_exits(arch: str, conv: int, block: int) -> None:
    spec = Spec(
        arch=arch, args=resolve(arch, {}), input_shape=(3, 32, 32), mean=(0.5,) * 3, std=(0.2,) * 3, labels=("a", "b")
    )
    assert len(EarlyExit(every="conv").expect(spec).exits) == conv
    assert len(EarlyExit(every="block").expect(spec).exits) == block


@pytest.mark.parametrize(("arch", "macs"), [("cifar:resnet34", 1.1594e9), ("cifar:vgg19", 398e6)])
def test_the_papers_networks_have_the_papers_macs(arch: str, macs: float) -> None:
    args, shape = resolve(arch, {}), (3, 32, 32)
    spec = Spec(arch=arch, args=args, input_shape=shape, mean=(0.5,) * 3, std=(0.2,) * 3, labels=tuple("0123456789"))
    assert cost(spec).macs == pytest.approx(macs, rel=1e-3)


def test_exits_spread_by_macs(spec: Spec) -> None:
    deep = spec.with_changes(args={"depth": 20, "width": 4})
    fractions = [place.macs_fraction for place in EarlyExit(exits=3).places(deep)]
    assert [round(fraction, 2) for fraction in fractions] == [0.24, 0.45, 0.77]


def test_all_heads_cost_what_a_hand_count_says(spec: Spec) -> None:
    bof = cost(with_exits(spec, "relu1", "stages.1.0", head="bof"))
    heads = {layer.name: layer.macs for layer in bof.layers if layer.is_head}
    assert heads == {
        "exits.0.conv": 64 * 4 * 64,  # 8x8 map, 4 channels to 64 codewords
        "exits.0.hidden": 256 * 64,
        "exits.0.linear": 64 * 3,
        "exits.1.conv": 16 * 8 * 64,  # 4x4 map, 8 channels
        "exits.1.hidden": 256 * 64,
        "exits.1.linear": 64 * 3,
    }
    assert bof.macs == cost(spec).macs + sum(heads.values())


def test_bitops_with_one_exit_and_given_shares_by_hand(spec: Spec) -> None:
    found = cost(with_precision(with_exits(spec, "relu1"), PRECISION))
    stem, head = 64 * 9 * 4 * 64, 4 * 3 * 7 * 6
    body = 64 * 9 * 16 * 2 + 16 * (9 * 32 + 9 * 64 + 32) + 4 * (9 * 128 + 9 * 256 + 128)
    rest = body * 6 + 48 * 42
    assert found.bitops == stem + head + rest
    assert found.leaving([0.25, 0.75]).bitops == stem + head + 0.75 * rest
    assert found.cheapest().bitops == stem + head
    baseline = cost(spec)
    assert found.leaving([0.25, 0.75]).nominal_ratio(baseline) == pytest.approx(
        baseline.macs / (64 * 9 * 4 + 0.75 * (body + 48)) * 1024 / 6
    )


def exited(spec: Spec, images: torch.Tensor, measure: str) -> Network:
    """A network with three exits of which, by its threshold, each sends some images away (the first needs a forerunner
    where exits must agree)."""
    rule = ExitRule(measure=measure, threshold=0.0, max_drop=0.01)
    made = build(with_exits(spec, "relu1", "stages.0.0.relu1", "stages.1.0").with_changes(rule=rule))
    made(images)
    with torch.no_grad():
        for head, output in zip(made.exits, made.eval()(images), strict=False):
            centred = output - output.mean(0)  # as sure as a trained one, of different classes
            head.linear.bias.sub_(output.mean(0)).div_(centred.std() / 2)
            head.linear.weight.div_(centred.std() / 2)
        given = made.eval()(images)
    scores = exit_scores(given, measure).flatten().sort().values
    between = (scores[scores.isfinite()][1:] + scores[scores.isfinite()][:-1]) / 2
    rules = [rule.model_copy(update={"threshold": float(score)}) for score in between]
    first = int(measure == "agreement")
    rule = max(rules, key=lambda rule: int(exit_of(given, rule).bincount(minlength=4)[first:].min()))
    return with_spec(made, made.spec.with_changes(rule=rule)).eval()


NUMBERS = {"task": "regression", "labels": ("angle", "size"), "scale": Scale(mean=(10.0, -1.0), std=(3.0, 0.5))}


@pytest.mark.parametrize("measure", ["max_softmax", "entropy", "variance", "agreement"])
def test_predict_on_a_batch_is_forward_and_the_rule_on_each_image(
    spec: Spec, images: torch.Tensor, measure: str
) -> None:
    is_class = measure in ("max_softmax", "entropy")
    made = exited(spec if is_class else spec.with_changes(**NUMBERS), images, measure)
    prediction = made.predict(images)
    assert prediction.exit.unique().tolist() == [0, 1, 2, 3][int(measure == "agreement") :]
    for index, image in enumerate(images):
        outputs = made(image[None])
        befores = [None, *outputs]
        pairs = enumerate(zip(outputs[:-1], befores, strict=False))
        fires = [bool(leaves(output, made.spec.rule, before, exit_)) for exit_, (output, before) in pairs]
        first = fires.index(True) if any(fires) else 3
        assert int(prediction.exit[index]) == first
        if is_class:
            assert int(prediction.value[index]) == int(outputs[first].argmax())
            assert float(prediction.confidence[index]) == pytest.approx(
                float(outputs[first].softmax(1).max()), abs=1e-5
            )
        else:
            value = outputs[first][0, :2] * torch.tensor([3.0, 0.5]) + torch.tensor([10.0, -1.0])
            torch.testing.assert_close(prediction.value[index], value, rtol=1e-4, atol=1e-4)
    assert torch.equal(exit_of(made(images), made.spec.rule), prediction.exit)


def test_the_rules_scores_by_hand() -> None:
    logits = torch.tensor([[math.log(3.0), 0.0]])
    assert float(exit_score(logits, "max_softmax", None)) == pytest.approx(0.75)
    assert float(exit_score(logits, "entropy", None)) == pytest.approx(-0.75 * math.log(0.75) - 0.25 * math.log(0.25))
    given = torch.tensor([[5.0, -5.0, 2 * math.log(3.0), 0.0]])  # two means, then log-variances of deviations 3 and 1
    assert float(exit_score(given, "variance", None)) == pytest.approx(2.0)
    assert float(exit_score(given[:, :2], "agreement", None)) == math.inf
    assert float(exit_score(given[:, :2], "agreement", torch.tensor([[4.0, -8.0]]))) == pytest.approx(2.0)


def test_what_leaves_does_not_run_the_rest(spec: Spec, images: torch.Tensor) -> None:
    made = exited(spec, images, "max_softmax")
    seen: dict[str, int] = {}
    for name, layer in made.layers.items():
        layer.register_forward_hook(lambda _m, x, _y, name=name: seen.update({name: len(x[0])}))
    exits = made.predict(images).exit
    left = [int((exits >= index).sum()) for index in range(4)]
    segments = {layer.name: layer.segment for layer in cost(made.spec).layers}
    assert seen == {name: left[segment] for name, segment in segments.items() if left[segment]}
    assert len(set(left)) == 4
    seen.clear()
    everyone = with_spec(
        made, made.spec.with_changes(rule=ExitRule(measure="max_softmax", threshold=0.0, max_drop=0.01))
    ).eval()
    for name, layer in everyone.layers.items():
        layer.register_forward_hook(lambda _m, x, _y, name=name: seen.update({name: len(x[0])}))
    everyone.predict(images)
    assert set(seen) == {name for name, segment in segments.items() if segment == 0}
