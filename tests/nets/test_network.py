"""A network is its spec and its tensors: tracing, quantisers' places, rebuilding."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from coc_cli.errors import StageError
from coc_cli.nets import cuts, sources
from coc_cli.nets.network import Network, build, clone
from coc_cli.nets.precision import LayerBits, Precision, precision_of, with_precision
from coc_cli.nets.sources import resolve
from coc_cli.nets.spec import Spec

PRECISION = Precision(LayerBits(8, 8), LayerBits(2, 3), LayerBits(7, 6), residual=5)


def test_traced_equals_original_in_train_and_in_eval(network: Network, images: torch.Tensor) -> None:
    for mode in (True, False):
        one, other = clone(network).train(mode), clone(network).train(mode)
        assert torch.equal(one(images)[-1], other.backbone(images))
        for (name, a), (_, b) in zip(one.named_buffers(), other.named_buffers(), strict=True):
            assert torch.equal(a, b), name


def test_every_norm_moves_after_train_and_none_after_eval(network: Network, images: torch.Tensor) -> None:
    norms = {name: m for name, m in network.named_modules() if isinstance(m, nn.BatchNorm2d)}
    assert len(norms) == 9
    before = {name: norm.running_mean.clone() for name, norm in norms.items()}
    network.eval()(images)
    assert all(torch.equal(norms[name].running_mean, before[name]) for name in norms)
    network.train()(images)
    assert not any(torch.equal(norms[name].running_mean, before[name]) for name in norms)


def test_segments_compose_to_the_whole(network: Network, images: torch.Tensor) -> None:
    places = ["backbone_relu1", "backbone_stages_0_0_relu1", "backbone_stages_1_0_relu2"]
    pieces = cuts.segments(network.graph, places)
    live: tuple[torch.Tensor, ...] = (images,)
    for piece in pieces:
        live = piece.run(network, *live)
    assert torch.equal(live[0], network(images)[-1])
    assert [len(piece.outputs) for piece in pieces] == [1, 2, 1, 1]  # inside a block the shortcut lives too


def test_a_cut_at_no_place_is_named(network: Network) -> None:
    with pytest.raises(StageError, match="no exit can be at 'nowhere'"):
        cuts.segments(network.graph, ["nowhere"])


def test_what_cannot_be_traced_says_where() -> None:
    class Inner(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(1, 1, 1)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.conv(x) if x.sum() > 0 else x

    with pytest.raises(StageError, match=r"cannot be traced: in 0: .*control flow"):
        cuts.trace(nn.Sequential(Inner()))


def test_quantisers_stand_between_all_layers_and_on_both_operands_of_sums(spec: Spec) -> None:
    expected = with_precision(spec, PRECISION)
    bits = {name: (edge.bits, edge.signed) for name, edge in expected.edges.items()}
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
        ("cifar:resnet20", {"width": 0}, "width", "needs a whole number of at least 1, got 0"),
        ("cifar:resnet20", {"breadth": 1}, "breadth", "cifar:resnet20 takes no 'breadth'; it takes: depth, width"),
    ],
)
def test_unknown_architectures_and_arguments(arch: str, args: dict[str, int], key: str, text: str) -> None:
    with pytest.raises(StageError) as caught:
        resolve(arch, args)
    assert caught.value.key == key
    assert caught.value.what.startswith(text)


def test_the_families_have_their_depth_in_layers() -> None:
    for arch in sources.ARCHITECTURES:
        args = resolve(arch, {"width": 2})
        made = sources.create(arch, args, outputs=3, channels=3)
        shortcuts = sum("shortcut" in name for name, m in made.named_modules() if isinstance(m, nn.Conv2d))
        layers = sum(isinstance(m, nn.Conv2d | nn.Linear) for m in made.modules())
        assert layers - shortcuts == args["depth"]


def test_pruned_shapes_rebuild(spec: Spec) -> None:
    from coc_cli.nets.network import changed_numbers

    narrow = spec.but(
        modules={
            "stages.0.0.conv1": {"in": 4, "out": 3, "groups": 1},
            "stages.0.0.bn1": {"features": 3},
            "stages.0.0.conv2": {"in": 3, "out": 4, "groups": 1},
        }
    )
    made = build(narrow)
    assert made(torch.zeros(2, 1, 8, 8))[-1].shape == (2, 3)
    assert changed_numbers(made) == narrow.modules
