"""Exit thresholds: the confidence required to leave, calibrated on validation against the final output."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch

from coc_cli.learning import certificate
from coc_cli.learning.evaluation import scored
from coc_cli.nets.cost import cost
from coc_cli.nets.exit_rules import NEVER, exit_scores
from coc_cli.nets.network import with_spec
from coc_cli.nets.spec import CONFIDENT_WHEN_LOW, ExitRule, Spec

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

    from coc_cli.data.images import Split
    from coc_cli.learning.certificate import Array
    from coc_cli.nets.network import Network

CANDIDATES = 1000
SAFER = 60  # candidates that are tested, from the safest to the cheapest


def best_threshold(outputs: list[Tensor], scores: Tensor, rule: ExitRule, costs: Sequence[float]) -> float:
    """Return the threshold of lowest mean cost at which the mean score drops by at most `rule.max_drop`.

    `outputs` are those of all exits, each [N, K], the last is final; `scores` [E, N] are theirs on each image; `costs`
    [E] are the costs of leaving at each.
    """
    sign = -1.0 if rule.measure in CONFIDENT_WHEN_LOW else 1.0
    confidence = sign * exit_scores(outputs, rule.measure)  # [E-1, N]
    exit_costs = torch.tensor(list(costs), dtype=torch.float64, device=scores.device)
    min_score = float(scores[-1].mean()) - rule.max_drop - 1e-12
    threshold, lowest_cost = NEVER[rule.measure], float(exit_costs[-1])
    # One threshold serves all exits: an image with confidence 0.6 and 0.9 at two inner exits leaves at the first for
    # thresholds up to 0.6, at the second up to 0.9, else at the final output. A lower threshold costs less, but the
    # score need not fall steadily with it, so every candidate is tried.
    for level in _levels(confidence, CANDIDATES):  # the highest first, so that of equal costs the more confident stays
        exits = exits_at(confidence, level)
        mean_cost = float(exit_costs[exits].mean())
        if mean_cost < lowest_cost and float(scores.gather(0, exits[None]).mean()) >= min_score:
            threshold, lowest_cost = sign * level, mean_cost
    return threshold


def _levels(confidence: Tensor, most: int, *, least: float = -torch.inf) -> list[float]:
    """Return values of confidence [E-1, N], so many at most, spread over their ranks, highest first."""
    levels = confidence[confidence.isfinite() & (confidence >= least)].unique()
    places = torch.linspace(0, max(0, len(levels) - 1), min(most, len(levels))).round().long()
    spread: list[float] = levels[places].tolist()
    return spread[::-1]


def exits_at(confidence: Tensor, level: float) -> Tensor:
    """Return the first exit that is so confident, the final one where none is; [N]."""
    return torch.cat([confidence >= level, torch.ones_like(confidence[:1]) > 0]).int().argmax(0)


def promised_threshold(outputs: list[Tensor], scores: Tensor, rule: ExitRule, costs: Sequence[float]) -> float:
    """Return the threshold of lowest cost that is shown to cost at most `rule.max_drop` with `rule.confidence`.

    Chosen on half of the images, with ever safer ones up to leaving never, which are tested on the other half; see
    certificate.py.
    """
    assert rule.confidence is not None
    halves = certificate.halves(scores.shape[1])
    first, second = (torch.from_numpy(half).to(scores.device) for half in halves)
    lowest = best_threshold([output[first] for output in outputs], scores[:, first], rule, costs)
    sign = -1.0 if rule.measure in CONFIDENT_WHEN_LOW else 1.0
    confidence = sign * exit_scores(outputs, rule.measure)
    levels = _levels(confidence[:, first], SAFER, least=sign * lowest)

    def losses(half: Tensor) -> Array:
        leaving = [exits_at(confidence[:, half], level) for level in levels]
        found = [scores[-1, half] - scores[:, half].gather(0, exits[None])[0] for exits in leaving]
        return torch.stack(found).double().cpu().numpy() if found else np.zeros((0, len(half)))

    shown = certificate.certified(losses(first), losses(second), rule.max_drop, rule.confidence)
    return sign * levels[shown - 1] if shown else NEVER[rule.measure]


def exit_costs(spec: Spec) -> list[float]:
    """Return the BitOps of leaving at each exit, the final one last."""
    network_cost, count = cost(spec), len(spec.exits) + 1
    return [network_cost.leaving([float(index == leave) for index in range(count)]).bitops for leave in range(count)]


def calibrated(network: Network, validation: Split) -> Network:
    """Return the network with its exit rule's threshold calibrated again; the same network if it has no exits."""
    spec = network.spec
    if spec.rule is None:
        return network
    outputs, scores = scored(network, validation)
    find = best_threshold if spec.rule.confidence is None else promised_threshold
    threshold = find(outputs, scores, spec.rule, exit_costs(spec))
    return with_spec(network, spec.with_changes(rule=spec.rule.model_copy(update={"threshold": threshold})))
