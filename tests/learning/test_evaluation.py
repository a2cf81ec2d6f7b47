"""Counting: against torch's own counter, and by hand."""

from __future__ import annotations

import pytest
import torch
import torchvision
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from coc_cli.data.images import Data
from coc_cli.learning.evaluation import evaluate, outputs
from coc_cli.nets.cost import Cost, LayerCost, cost
from coc_cli.nets.macs import layer_macs
from coc_cli.nets.network import Network
from coc_cli.nets.precision import LayerBits, Precision, with_precision
from coc_cli.nets.spec import Spec


@pytest.mark.parametrize("name", ["resnet18", "mobilenet_v2", "vgg11", "densenet121", "efficientnet_b0"])
def test_macs_are_half_of_torchs_flops(name: str) -> None:
    with torch.device("meta"):
        model = getattr(torchvision.models, name)().eval()
    x = torch.empty(1, 3, 64, 64, device="meta")
    with FlopCounterMode(display=False) as counter:
        model(x)
    assert sum(layer_macs(model, x).values()) * 2 == counter.get_total_flops() > 0


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


def test_depthwise_convolutions_count_by_group() -> None:
    layer = nn.Sequential(nn.Conv2d(8, 8, 3, padding=1, groups=8))
    assert layer_macs(layer, torch.empty(1, 8, 5, 5)) == {"0": 25 * 8 * 9}
