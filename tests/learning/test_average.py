"""Averaged weights, by hand; and a training that goes on with them."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from coc_cli.data.images import Data
from coc_cli.data.settings import Augment
from coc_cli.learning.average import Average
from coc_cli.learning.evaluation import learning
from coc_cli.learning.loop import _optimizer, fit
from coc_cli.learning.training import Epoch, Training
from coc_cli.nets.layers import Scaled
from coc_cli.nets.network import Network, clone
from coc_cli.stages.quantize import Quantize
from coc_cli.stages.stage import Lab

LOSS = Quantize(weights=8, activations=8).loss(None)


def test_an_average_by_hand(network: Network) -> None:
    average = Average.of(network, 0.5)
    name = "backbone.linear.bias"
    bias = dict(network.named_parameters())[name]
    values, expected = [], bias.detach().clone()
    with torch.no_grad():
        for step in range(12):
            bias += 1
            values.append(bias.clone())
            average.add(step)
            keep = min(0.5, (1 + step) / (10 + step))
            expected = keep * expected + (1 - keep) * bias
    torch.testing.assert_close(average.tensors[name], expected)
    with average.standing_in():
        torch.testing.assert_close(bias.detach(), expected)
    assert torch.equal(bias, values[-1])


def test_what_is_measured_and_kept_is_the_average(network: Network, data: Data, tmp_path: Path) -> None:
    settings = Training(epochs=3, batch=32, average=0.9)
    whole, resumed = clone(network), clone(network)
    seen: list[Epoch] = []
    arguments = {"augment": Augment(shift=1), "seed": 3}
    fit(whole, data, settings, LOSS, state=tmp_path / "a.pt", log=seen.append, **arguments)  # type: ignore[arg-type]
    assert learning(whole, data.validation).value == max(epoch.metric for epoch in seen)

    def stop(epoch: Epoch) -> None:
        if epoch.epoch == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fit(clone(network), data, settings, LOSS, state=tmp_path / "b.pt", log=stop, **arguments)  # type: ignore[arg-type]
    fit(resumed, data, settings, LOSS, state=tmp_path / "b.pt", log=lambda _: None, **arguments)  # type: ignore[arg-type]
    for (name, one), (_, other) in zip(whole.state_dict().items(), resumed.state_dict().items(), strict=True):
        assert torch.equal(one, other), name


def test_norms_and_scales_have_their_own_rate_and_no_decay(network: Network, lab: Lab) -> None:
    made = Quantize(weights=4, activations=4, epochs=0).apply(network, lab)
    settings = Training(optimizer="sgd", lr=0.5, weight_decay=0.1, norm_lr=2.0, scale_lr=0.25)
    weights, norms, scales = _optimizer(made, settings).param_groups
    assert [group["factor"] for group in (weights, norms, scales)] == [1.0, 2.0, 0.25]
    assert [group["weight_decay"] for group in (weights, norms, scales)] == [0.1, 0.0, 0.0]
    learned = [scale for module in made.modules() if isinstance(module, Scaled) for scale in module.scales]
    assert {id(p) for p in scales["params"]} == {id(p) for p in learned}
    assert sum(len(group["params"]) for group in (weights, norms, scales)) == len(list(made.parameters()))
