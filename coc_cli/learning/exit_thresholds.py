"""Exit thresholds: how sure an exit must be, found on validation against the network's own final output."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from coc_cli.learning.evaluation import scored
from coc_cli.nets.cost import cost
from coc_cli.nets.exit_rules import NEVER, SURE_WHEN_LOW, exit_scores
from coc_cli.nets.network import with_spec
from coc_cli.nets.spec import ExitRule

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

    from coc_cli.data.images import Split
    from coc_cli.nets.network import Network

CANDIDATES = 1000


def best_threshold(given: list[Tensor], scores: Tensor, rule: ExitRule, costs: Sequence[float]) -> float:
    """Return the threshold of least mean cost that keeps the mean score of the final output less `rule.max_drop`.

    `given` are the outputs of all exits, the last is final; `scores` [E, N] tells how well each answers each image;
    `costs` [E] is what leaving at each costs.
    """
    sign = -1.0 if rule.measure in SURE_WHEN_LOW else 1.0
    sure = sign * exit_scores(given, rule.measure)  # [E-1, N], larger: surer
    price = torch.tensor(list(costs), dtype=torch.float64, device=scores.device)
    least_score = float(scores[-1].mean()) - rule.max_drop - 1e-12
    levels = sure[sure.isfinite()].unique()
    levels = levels[torch.linspace(0, max(0, len(levels) - 1), min(CANDIDATES, len(levels))).round().long()]
    best, least = NEVER[rule.measure], float(price[-1])
    for level in levels.flip(0).tolist():  # the surest first, so that of equal costs the surer stays
        fires = torch.cat([sure >= level, torch.ones_like(sure[:1]) > 0])
        exits = fires.int().argmax(0)
        cost = float(price[exits].mean())
        if cost < least and float(scores.gather(0, exits[None]).mean()) >= least_score:
            best, least = sign * level, cost
    return best


def calibrated(network: Network, validation: Split) -> Network:
    """Return the network with its exit rule's threshold found anew; the same network if it has no exits."""
    spec = network.spec
    if spec.rule is None:
        return network
    whole, count = cost(spec), len(spec.exits) + 1
    costs = [whole.leaving([float(index == leave) for index in range(count)]).bitops for leave in range(count)]
    given, scores = scored(network, validation)
    threshold = best_threshold(given, scores, spec.rule, costs)
    return with_spec(network, spec.with_changes(rule=spec.rule.model_copy(update={"threshold": threshold})))
