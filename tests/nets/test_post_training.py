"""Quantising without training: scales see every value, and means are what they were without rounding."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from coc_cli.data.images import Data
from coc_cli.learning.evaluation import outputs
from coc_cli.nets.layers import BATCH_NORM, ActivationQuantizer
from coc_cli.nets.network import Network, clone
from coc_cli.nets.post_training import _channel_means, _least_error, calibrate
from coc_cli.nets.quantizer_initialization import initialize_quantizers
from coc_cli.stages.quantize import Quantize
from coc_cli.stages.stage import Lab


def rounded(network: Network, data: Data, bits: int) -> Network:
    spec = Quantize(weights=bits, activations=bits).expect(network.spec)
    return initialize_quantizers(network, spec, data.train, "cpu")


def test_the_least_error_by_trying_every_scale_on_every_value() -> None:
    values = torch.cat([torch.randn(20_000, generator=torch.Generator().manual_seed(0)), torch.tensor([9.0])])
    high = float(values.abs().max())
    histogram = torch.histc(values, 4096, min=-high, max=high)
    scales = torch.tensor([high / 7 * (1 - step / 100) for step in range(90)])
    errors = [((values / s).round().clamp(-8, 7) * s - values).abs().pow(3).sum() for s in scales]
    expected = scales[int(torch.stack(errors).argmin())]
    assert float(_least_error(histogram, high, (-8, 7))) == pytest.approx(float(expected), rel=0.02)
    assert float(expected) < high / 7 * 0.9  # the outlier is clipped


def test_one_large_value_among_many_is_seen(network: Network, data: Data) -> None:
    quantized = rounded(network, data, 8)
    images = data.train.images.clone()
    bright = type(data.train)(images, data.train.targets)
    images[0] = 255
    calibrate(quantized, network, bright)
    edge = quantized.edges["x"]
    assert isinstance(edge, ActivationQuantizer)
    high = float(network.normalise(images[:1]).max())
    assert float(edge.scale) * 127 > 0.9 * high


@pytest.mark.parametrize("bits", [8, 3])
def test_every_channel_has_the_mean_that_it_had_without_rounding(network: Network, data: Data, bits: int) -> None:
    quantized = rounded(network, data, bits)
    before = clone(network)
    calibrate(quantized, network, data.train)
    for name, tensor in network.state_dict().items():
        assert torch.equal(tensor, before.state_dict()[name])
    x = network.normalise(data.train.take(torch.arange(min(512, len(data.train)))))
    means: dict[str, list[Tensor]] = {}
    for net in (network.eval(), quantized.eval()):
        handles = [
            module.register_forward_hook(
                lambda one, _, output, name=name: means.setdefault(name, []).append(_channel_means(one, output))
            )
            for name, module in net.named_modules()
            if isinstance(module, BATCH_NORM | torch.nn.Linear)
        ]
        with torch.no_grad():
            net(x)
        for handle in handles:
            handle.remove()
    assert len(means) > 5
    for name, (one, other) in means.items():
        torch.testing.assert_close(one, other, atol=2e-4, rtol=2e-4, msg=name)


def test_no_epochs_means_this_calibration_and_a_trained_stage_is_as_before(
    network: Network, data: Data, lab: Lab
) -> None:
    network.eval()
    made = Quantize(weights=4, activations=4, epochs=0, teacher="none").change(network, lab)
    expected = rounded(network, data, 4)
    calibrate(expected, network, data.train)
    for name, tensor in made.state_dict().items():
        assert torch.equal(tensor, expected.state_dict()[name])
    errors = []
    for other in (made, rounded(network, data, 4)):
        reference = outputs(network, data.test)[-1]
        errors.append(float((outputs(other, data.test)[-1] - reference).square().mean()))
    assert errors[0] < errors[1]
