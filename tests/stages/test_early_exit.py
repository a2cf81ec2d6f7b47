"""How exits are trained: what they learn from the network's own answer, and the size of their heads."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from coc_cli.learning.gradient_balance import balance
from coc_cli.learning.tasks import task_of
from coc_cli.learning.training import Batch
from coc_cli.nets.cost import cost
from coc_cli.nets.network import Network, build
from coc_cli.nets.spec import Spec
from coc_cli.stages.early_exit import EarlyExit


def outputs_of(exits: int, seed: int = 0) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(6, 2, generator=generator, requires_grad=True) for _ in range(exits + 1)]


@pytest.mark.parametrize("share", [0.0, 0.4])
def test_inner_exits_learn_from_the_final_output_by_hand(network: Network, share: float) -> None:
    stage = EarlyExit(exits=2, teacher="none", self_distillation=share, temperature=2.0)
    outputs, targets, weights = outputs_of(2), torch.tensor([0, 1, 0, 1, 1, 0]), [1.0, 0.5, 2.0]
    batch, task = Batch(torch.zeros(6, 3, 8, 8), targets), task_of(network.spec)
    learned = [(1 - share) * weights[0], (1 - share) * weights[1], weights[2]]
    value = stage.with_own(task, outputs, weights, stage.loss_of(task, outputs, batch, None, learned))
    hard = [F.cross_entropy(output, targets) for output in outputs]
    soft = [
        4 * F.kl_div((output / 2).log_softmax(1), (outputs[2] / 2).softmax(1).detach(), reduction="batchmean")
        for output in outputs[:2]
    ]
    inner = sum(w * ((1 - share) * h + share * s) for w, h, s in zip(weights, hard, soft, strict=False))
    torch.testing.assert_close(value, (inner + 2.0 * hard[2]) / 3.5)


def test_the_final_output_does_not_learn_from_inner_ones(network: Network) -> None:
    stage, task = EarlyExit(exits=1, teacher="none", self_distillation=0.9), task_of(network.spec)
    outputs = outputs_of(1)
    stage.with_own(task, outputs, [1.0, 0.0], torch.zeros(())).backward()
    assert outputs[0].grad is not None
    assert outputs[1].grad is None


def test_fewer_codewords_are_smaller_heads(spec: Spec) -> None:
    few, usual = (EarlyExit(exits=2, head="bof", codewords=n).expect(spec) for n in (8, 64))
    assert cost(few).macs < cost(usual).macs
    made = build(few)
    assert made.get_submodule("exits.0.bag").gain.shape == (8,)
    assert [exit_.codewords for exit_ in few.exits] == [8, 8]
    assert len(made(torch.zeros(2, *spec.input_shape))) == 3


def test_a_balanced_gradient_is_the_mean_over_the_exits_behind(spec: Spec) -> None:
    network, weights = build(EarlyExit(exits=2).expect(spec)).eval(), [1.0, 0.5, 2.0]
    images, targets = torch.randn(4, *spec.input_shape), torch.tensor([0, 1, 1, 0])
    named = dict(network.named_parameters())

    def gradients(counted: list[float]) -> dict[str, torch.Tensor]:
        losses = [F.cross_entropy(output, targets) for output in network(images)]
        network.zero_grad()
        sum(weight * loss for weight, loss in zip(counted, losses, strict=True)).backward()
        return {
            name: one.grad.clone() if one.grad is not None else torch.zeros_like(one) for name, one in named.items()
        }

    of_exit = [gradients([float(index == one) for index in range(3)]) for one in range(3)]
    hooks = balance(network, weights)
    balanced = gradients([weight / 3.5 for weight in weights])
    behind = {0: 3.5, 1: 2.5, 2: 2.0}
    shares = set()
    for name in named:
        total = sum(weight * one[name] for weight, one in zip(weights, of_exit, strict=True))
        first = next(index for index in range(3) if any(of[name].abs().sum() for of in of_exit[: index + 1]))
        share = 3.5 if name.startswith("exits.") else behind[first]
        shares.add(share)
        torch.testing.assert_close(balanced[name], total / share)
    assert shares == {3.5, 2.5, 2.0}
    for hook in hooks:
        hook.remove()
    unhooked = gradients([weight / 3.5 for weight in weights])
    assert not all(torch.equal(unhooked[name], balanced[name]) for name in named)
