"""Exit thresholds: how sure an exit must be, found on validation against the network's own final output."""

from __future__ import annotations

from typing import TYPE_CHECKING

from coc_cli.nets.spec import ExitRule

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

    from coc_cli.data.images import Split
    from coc_cli.nets.network import Network

CANDIDATES = 1000
NEVER = {"max_softmax": 2.0, "entropy": -1.0}  # thresholds that no output meets


def best_threshold(logits: Tensor, targets: Tensor, rule: ExitRule, costs: Sequence[float]) -> float:
    """Give the threshold of least mean cost that keeps the accuracy of the final output less `rule.max_drop`.

    `logits` [E, N, classes] are the outputs of all exits, the last is final; `costs` [E] is what leaving at each costs.
    """
    import torch

    from coc_cli.nets.network import exit_score

    sign = -1.0 if rule.measure == "entropy" else 1.0
    scores = sign * torch.stack([exit_score(output, rule.measure) for output in logits[:-1]])  # [E-1, N], larger: surer
    right = (logits.argmax(2) == targets).double()  # [E, N]
    price = torch.tensor(list(costs), dtype=torch.float64, device=logits.device)
    least_accuracy = float(right[-1].mean()) - rule.max_drop - 1e-12
    levels = scores.flatten().unique()
    levels = levels[torch.linspace(0, len(levels) - 1, min(CANDIDATES, len(levels))).round().long()]
    best, least = NEVER[rule.measure], float(price[-1])
    for level in levels.flip(0).tolist():  # the surest first, so that of equal costs the surer stays
        fires = torch.cat([scores >= level, torch.ones_like(scores[:1]) > 0])
        exits = fires.int().argmax(0)
        cost = float(price[exits].mean())
        if cost < least and float(right.gather(0, exits[None]).mean()) >= least_accuracy:
            best, least = sign * level, cost
    return best


def calibrated(network: Network, validation: Split) -> Network:
    """Give the network with its exit rule's threshold found anew; the same network if it has no exits."""
    from coc_cli.measure import cost, outputs
    from coc_cli.nets.network import with_spec

    spec = network.spec
    if spec.rule is None:
        return network
    whole = cost(spec)
    count = len(spec.exits) + 1
    costs = [whole.leaving([float(index == leave) for index in range(count)]).bitops for leave in range(count)]
    threshold = best_threshold(outputs(network, validation), validation.targets, spec.rule, costs)
    return with_spec(network, spec.but(rule=spec.rule.model_copy(update={"threshold": threshold})))
