"""Counting: against torch's own counter, and by hand."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from coc_cli.data.images import Data
from coc_cli.errors import StageError
from coc_cli.learning.evaluation import evaluate, outputs
from coc_cli.nets.cost import Cost, LayerCost, cost
from coc_cli.nets.entry import raw
from coc_cli.nets.network import Network
from coc_cli.nets.precision import LayerBits, Precision, with_precision
from coc_cli.nets.spec import Spec
from coc_cli.stages.quantize import Quantize


def library_spec(arch: str, size: int = 64, **args: float) -> Spec:
    return Spec(
        arch=arch,
        args=args,
        input_shape=(3, size, size),
        mean=(0.5,) * 3,
        std=(0.25,) * 3,
        labels=tuple("0123456789"),
    )


@pytest.mark.parametrize(
    "name",
    [
        "resnet18",
        "mobilenet_v2",
        "vgg11",
        *(pytest.param(name, marks=pytest.mark.full) for name in ("densenet121", "efficientnet_b0")),
    ],
)
def test_macs_are_half_of_torchs_flops(name: str) -> None:
    spec = library_spec(f"torchvision:{name}")
    with torch.device("meta"):
        model = raw(spec).eval()
        with FlopCounterMode(display=False) as counter:
            model(torch.empty(1, 3, 64, 64))
    assert cost(spec).macs * 2 == counter.get_total_flops() > 0


def test_a_network_costs_what_torchs_counter_says(spec: Spec, network: Network) -> None:
    with FlopCounterMode(display=False) as counter:
        network(torch.zeros(1, 1, 8, 8))
    assert cost(spec).macs * 2 == counter.get_total_flops()
    assert cost(spec).params == sum(p.numel() for p in network.parameters())


def test_bitops_of_mixed_bits_by_hand() -> None:
    layers = (
        LayerCost("a", 0, macs=100, params=0, weight_bits=8, activation_bits=8),
        LayerCost("b", 0, macs=1000, params=0, weight_bits=2, activation_bits=3),
        LayerCost("c", 1, macs=10, params=0, weight_bits=32, activation_bits=8),
    )
    whole = Cost(layers, params=0, reach=(1.0, 1.0))
    assert whole.bitops == 100 * 64 + 1000 * 6 + 10 * 256 == 14960
    assert Cost(layers, params=0, reach=(1.0, 0.25)).bitops == 100 * 64 + 1000 * 6 + 0.25 * 10 * 256
    baseline = Cost((LayerCost("d", 0, 4440, 0, 32, 32),), params=0)
    assert whole.nominal_ratio(baseline) == pytest.approx(4440 / 1110 * 1024 / 6)


def test_bitops_of_a_real_quantised_network_by_hand(spec: Spec) -> None:
    first, inner, last = LayerBits(8, 8), LayerBits(2, 3), LayerBits(7, 6)
    found = cost(with_precision(spec, Precision(first, inner, last, residual=5)))
    # 8x8 map: stem 1->4, block 4->4 twice; 4x4: 4->8, 8->8, 1x1 4->8; 2x2: 8->16, 16->16, 1x1 8->16; linear 16->3
    stem = 64 * 9 * 4
    body = 64 * 9 * 16 * 2 + 16 * (9 * 32 + 9 * 64 + 32) + 4 * (9 * 128 + 9 * 256 + 128)
    assert [layer.bitops for layer in (found.layers[0], found.layers[-1])] == [stem * 64, 48 * 42]
    assert found.macs == stem + body + 48
    assert found.bitops == stem * 64 + body * 6 + 48 * 42


def test_evaluate_counts_right_answers_whatever_the_batch(network: Network, data: Data) -> None:
    whole = evaluate(network, data.test)
    with torch.no_grad():
        right = network(network.normalise(data.test.images))[-1].argmax(1) == data.test.targets
    assert (whole.value, whole.n) == (float(right.float().mean()), 48)
    assert whole.scores == tuple(right.double().tolist())
    torch.testing.assert_close(outputs(network, data.test, batch=7), outputs(network, data.test, batch=48))


ATTENTION = """\
import torch, torch.nn.functional as F
from torch import nn

class Net(nn.Module):
    def __init__(self, outputs, channels, fused):
        super().__init__()
        self.patch, self.fused = nn.Conv2d(channels, 8, 4, 4), fused
        self.qkv, self.last = nn.Linear(8, 24), nn.Linear(8, outputs)
        self.up, self.wide = nn.ConvTranspose2d(8, 6, 3, 2, groups=2), nn.Conv2d(6, 6, 3, padding=1, groups=6)

    def forward(self, x):
        y = self.patch(x)
        n, c, h, w = y.shape
        q, k, v = self.qkv(y.flatten(2).transpose(1, 2)).view(n, h * w, 3, 2, c // 2).permute(2, 0, 3, 1, 4)
        if self.fused:
            z = F.scaled_dot_product_attention(q, k, v)
        else:
            z = (q @ k.transpose(-2, -1) * (c // 2) ** -0.5).softmax(-1) @ v
        z = z.transpose(1, 2).reshape(n, h * w, c)
        return self.last(z.mean(1)) + self.wide(self.up(y)).mean((1, 2, 3)).unsqueeze(1)

def fused(outputs, channels):
    return Net(outputs, channels, True)

def plain(outputs, channels):
    return Net(outputs, channels, False)
"""


@pytest.mark.parametrize("way", ["fused", "plain"])
def test_attention_counts_as_by_hand_and_as_torch_counts_it(
    way: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("net.py").write_text(ATTENTION)
    spec = library_spec(f"file:net.py:{way}", size=16)
    found = cost(spec)
    # 4x4 patches of 3 channels at 16 places; q, k and v; scores and their sums of 2 heads of 4; 3x3 kernels, grouped
    products = 2 * 16 * 16 * (4 + 4)
    layers = 16 * 8 * 48 + 16 * 8 * 24 + 16 * 8 * 3 * 9 + 81 * 6 * 9 + 8 * 10
    assert found.macs == layers + products
    assert sum(layer.macs for layer in found.layers if not layer.params) == products
    assert {(one.weight_bits, one.activation_bits) for one in found.layers if not one.params} == {(32, 32)}
    with FlopCounterMode(display=False) as counter, sdpa_kernel(SDPBackend.MATH), torch.no_grad():
        raw(spec).eval()(torch.zeros(1, 3, 16, 16))
    assert found.macs * 2 == counter.get_total_flops()


def test_what_stays_in_float_is_no_gain(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("net.py").write_text(ATTENTION)
    spec = library_spec("file:net.py:plain", size=16)
    stage = Quantize(weights=8, activations=8, layers={"up": {"bits": 32}})
    before, after = cost(spec), cost(stage.expect(spec))
    products, up = 2 * 16 * 16 * 8, 16 * 8 * 27  # the weights of the transposed convolution stay, its input is rounded
    rest = before.macs - products - up
    assert after.bitops == products * 32 * 32 + up * 32 * 8 + rest * 8 * 8
    assert after.quantized_share == rest / before.macs
    assert stage.notes(spec) == [
        f"{after.quantized_share:.1%} of the MACs run on rounded numbers; matmul, matmul_1, up stay in floating point"
    ]


def test_swin_is_refused_where_its_weights_go_into_a_function() -> None:
    with pytest.raises(
        StageError, match=r"in features.1.1.attn: setitem writes into a part .*swin_transformer.py:\d+\)$"
    ):
        cost(library_spec("torchvision:swin_t", size=224))
