"""The scheduled policy, made surer until what it loses is shown on images that it was not chosen by."""

from __future__ import annotations

import numpy as np

from coc_cli.dvfs.energy import Array
from coc_cli.errors import user_error
from coc_cli.exits.operating_points import by_fold, outcome
from coc_cli.exits.policies.context import GRID, PolicyContext
from coc_cli.exits.policies.policy import Policy
from coc_cli.exits.policy_governor_grid import GridRow, evaluated, row_of
from coc_cli.exits.traces import Trace
from coc_cli.learning import certificate

SAFER = 40  # steps of the grid that are tested, from the safest to the one that was chosen


def check_promise(images: int, limit: float, confidence: float, *, classes: bool) -> None:
    """Raise `UserError` where so many images cannot show that no more than `limit` is lost."""
    if not classes:
        raise user_error("--confidence", "a promise needs classes and their accuracy; leave it out")
    if what := certificate.shortfall(images, limit, confidence, "images of validation and holdout"):
        raise user_error("--confidence", what)


def promised(
    row: GridRow,
    context: PolicyContext,
    tested: Trace,
    test: Trace,
    promise: tuple[float, float],
    deadline_ms: float,
) -> GridRow | None:
    """Return a row at the step of the grid that is shown to keep a promise: a mean loss, and with which probability.

    The policy, its form and its governor were chosen on `context.trace`; steps from the safest to its own are tested in
    turn on `tested`. None where not even the safest is shown.
    """
    policy = row.evaluated.policy
    chosen = policy.step(context)
    steps = np.unique(np.linspace(chosen, GRID - 1, SAFER).astype(int))[::-1].tolist() if policy.is_tuned else [0]
    path = [policy.at_step(step, context) for step in steps]
    losses = [(_losses_on_validation(one, context), _losses(one, tested, context)) for one in path]
    before, now = (np.stack(half) for half in zip(*losses, strict=True))
    shown = certificate.certified(before, now, *promise)
    if not shown:
        return None
    return row_of(evaluated(path[shown - 1], context, test), row.governor, deadline_ms)


def promise_notes(limit: float, confidence: float | None, row: GridRow) -> list[str]:
    """Return what a schedule promises."""
    if confidence is None:
        return []
    what = f"leaving early loses at most {limit:.2%} of the accuracy on other images of this kind"
    return [f"promised with a probability of {confidence:g}: {what}, tested for {row.policy} on half of validation"]


def _losses(policy: Policy, trace: Trace, context: PolicyContext) -> Array:
    """Return how much less an input scores than at the final output, [N]."""
    result: Array = trace.score[-1] - outcome(policy, trace, context.workload)[0]
    return result


def _losses_on_validation(policy: Policy, context: PolicyContext) -> Array:
    return np.concatenate([_losses(part, trace, context) for part, trace in by_fold(policy, context)])
