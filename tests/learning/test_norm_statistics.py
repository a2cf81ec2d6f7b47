"""Statistics of norms estimated anew: the mean of batches, only where a running mean lags, never of what is frozen."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

from coc_cli.data.images import Data
from coc_cli.data.settings import Augment
from coc_cli.learning.loop import fit
from coc_cli.learning.norm_statistics import refresh_statistics
from coc_cli.learning.training import Epoch, Training
from coc_cli.nets.layers import BATCH_NORM
from coc_cli.nets.network import Network
from coc_cli.stages.early_exit import EarlyExit
from coc_cli.stages.quantize import Quantize
from coc_cli.stages.stage import Lab

LOSS = Quantize(weights=8, activations=8).loss(None)


def norms(network: nn.Module) -> list[nn.Module]:
    return [module for module in network.modules() if isinstance(module, BATCH_NORM)]


@pytest.mark.parametrize(("momentum", "steps", "stale"), [(0.1, 43, True), (0.1, 44, False), (0.01, 458, True)])
def test_statistics_are_estimated_while_a_hundredth_is_left(
    network: Network, data: Data, momentum: float, steps: int, stale: bool
) -> None:
    for norm in norms(network):
        norm.momentum = momentum  # type: ignore[assignment]
    anew = refresh_statistics(network, data.train, steps, batch=96, seed=1)  # an epoch is a step
    assert anew == (len(norms(network)) if stale else 0)  # 0.9^43 = 0.0108, 0.9^44 = 0.0097; 0.99^458 = 0.01002


def test_the_statistics_are_the_mean_over_batches(network: Network, data: Data) -> None:
    first = norms(network)[0]
    seen: list[torch.Tensor] = []
    handle = first.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].transpose(0, 1).flatten(1)))
    before = first.momentum
    refresh_statistics(network, data.train, 1, batch=16, seed=1)
    handle.remove()
    assert len(seen) == len(data.train) // 16
    assert first.momentum == before
    assert not network.training
    torch.testing.assert_close(first.running_mean, torch.stack([values.mean(1) for values in seen]).mean(0))
    torch.testing.assert_close(first.running_var, torch.stack([values.var(1) for values in seen]).mean(0))


def test_frozen_norms_never_move(network: Network, lab: Lab) -> None:
    before = {name: value.clone() for name, value in network.backbone.state_dict().items() if "running" in name}
    grown = EarlyExit(exits=("stages.0",), head="bof", epochs=2, batch=32).change(network, lab)
    after = grown.backbone.state_dict()
    for name, value in before.items():
        assert torch.equal(after[name], value), name


@pytest.mark.parametrize(("momentum", "estimated"), [(0.01, True), (0.9, False)])
def test_a_network_of_a_small_momentum_is_chosen_on_what_is_saved(
    network: Network, data: Data, tmp_path: Path, momentum: float, estimated: bool
) -> None:
    for norm in norms(network):
        norm.momentum = momentum  # type: ignore[assignment]
    seen: list[Epoch] = []
    settings = Training(epochs=3, batch=32)
    fit(network, data, settings, LOSS, augment=Augment(), seed=3, state=tmp_path / "state.pt", log=seen.append)
    assert seen[-1].norms_estimated == (len(norms(network)) if estimated else 0)
