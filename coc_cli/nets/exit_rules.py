"""When an input leaves at an inner exit: the confidence scores of exit rules, and their thresholds."""

from __future__ import annotations

import torch
from torch import Tensor

from coc_cli.nets.spec import CONFIDENT_WHEN_LOW, ExitRule

NEVER = {"max_softmax": 2.0, "entropy": -1.0, "variance": -1.0, "agreement": -1.0}  # thresholds that no output meets
ALWAYS = {"max_softmax": 0.0, "entropy": 1e9, "variance": 1e9, "agreement": 1e9}  # that all meet


def leaves(output: Tensor, rule: ExitRule | None, before: Tensor | None, exit_: int) -> Tensor:
    """Return which inputs leave at an exit, by number, with these outputs [N, K]; bool [N], none without a rule.

    `before` are the outputs of the same inputs at the exit before, None at the first.
    """
    if rule is None:
        return torch.zeros(len(output), dtype=torch.bool, device=output.device)
    score = exit_score(output, rule.measure, before)
    threshold = rule.threshold_at(exit_)
    return score <= threshold if rule.measure in CONFIDENT_WHEN_LOW else score >= threshold


def exit_score(output: Tensor, measure: str, before: Tensor | None) -> Tensor:
    """Return the score [N] that an exit rule compares with its threshold.

    From logits [N, C]: `max_softmax`, the greatest probability, or `entropy` in nats. From numbers, in standard
    deviations of the training targets and as a mean over targets: `variance`, the deviation that the exit expects of
    itself (its outputs [N, 2T] are means and log-variances), or `agreement`, the distance to the exit before (at first
    infinite).
    """
    if measure == "max_softmax":
        return output.softmax(1).amax(1)
    if measure == "entropy":
        return -(output.softmax(1) * output.log_softmax(1)).sum(1)
    if measure == "variance":
        return (output[:, output.shape[1] // 2 :] / 2).exp().mean(1)
    if before is None:
        return torch.full_like(output[:, 0], torch.inf)
    return (output - before).abs().mean(1)


def exit_scores(outputs: list[Tensor], measure: str) -> Tensor:
    """Return the scores [E-1, N] of all inner exits from the outputs of all exits, the final one last."""
    befores = [None, *outputs]
    return torch.stack([exit_score(now, measure, before) for now, before in zip(outputs[:-1], befores, strict=False)])
