"""`coc predict-exit --apply`: a checkpoint with the exits that a policy uses, each with its own threshold."""

from __future__ import annotations

import json
from collections.abc import Sequence
from hashlib import sha256

import numpy as np

from coc_cli.data.images import Data
from coc_cli.errors import StageError, user_error
from coc_cli.exits.policies import POLICIES
from coc_cli.exits.policies.classic import Classic
from coc_cli.exits.policies.policy import Policy
from coc_cli.exits.policies.threshold import Threshold
from coc_cli.exits.policy_governor_grid import GridRow, best
from coc_cli.exits.request import STAGE, PredictExitRequest
from coc_cli.exits.traces import Shifted, relaxed
from coc_cli.files.checksum import sha256_of
from coc_cli.files.run_directory import RESULT
from coc_cli.learning.evaluation import evaluate
from coc_cli.nets.checkpoint import save
from coc_cli.nets.checkpoint_header import Ancestor
from coc_cli.nets.exit_rules import ALWAYS
from coc_cli.nets.kept_exits import with_exits
from coc_cli.nets.network import Network
from coc_cli.nets.spec import CONFIDENT_WHEN_LOW, ExitRule, Measure
from coc_cli.report.schema import predict_exit as schema

APPLICABLE = tuple(name for name, policy in POLICIES.items() if issubclass(policy, Classic | Threshold))  # as a rule


def apply(
    request: PredictExitRequest, network: Network, rows: Sequence[GridRow], row: GridRow, data: Data
) -> schema.Applied:
    """Write the checkpoint of the scheduled row, or of the best whose exits a rule can say; return what it is.

    Raises `UserError` where no such row keeps the deadline, or exits cannot be left out.
    """
    chosen = row if row.policy in APPLICABLE else best([*rows], APPLICABLE)
    if chosen is None:
        raise user_error("--apply", f"none of {', '.join(APPLICABLE)} keeps the deadline; a later one may")
    policy, old = chosen.evaluated.policy, network.spec.rule
    assert old is not None
    kept, rule = rule_of(policy, old)
    try:
        smaller = with_exits(network, kept, rule)
    except StageError as error:
        raise user_error("--apply", error.what) from error
    settings = {
        "profile": request.profile.name,
        "deadline": request.deadline,
        "policy": policy.name,
        "exits": list(kept),
        "rule": rule.model_dump(mode="json") if rule else None,
    }
    inputs = sha256_of(request.checkpoint) + json.dumps(settings, sort_keys=True)
    step = Ancestor(stage=STAGE, settings=settings, key=sha256(inputs.encode()).hexdigest()[:32])
    path = request.directory / RESULT
    save(smaller, (*request.header.lineage, step), path)
    result = evaluate(smaller, data.test)
    return schema.Applied(
        policy=policy.name,
        exits=list(kept),
        thresholds=list(np.atleast_1d(rule.threshold)) if rule else [],
        metric_value=result.value,
        checkpoint_sha256=sha256_of(path),
    )


def rule_of(policy: Policy, old: ExitRule) -> tuple[tuple[int, ...], ExitRule | None]:
    """Return the exits that a policy uses, and the rule that lets images leave where it does."""
    if not isinstance(policy, Threshold):
        return (), None
    measure, kept = policy.measure, policy.exits
    if isinstance(measure, Shifted):
        base, least = measure.base, [measure.least[exit_] + policy.threshold for exit_ in kept]
        sure = [None if np.isneginf(one) else relaxed(one, base) for one in least]
    else:
        base, sure = measure, [float(policy.threshold) for _ in kept]
    return kept, old.model_copy(update={"measure": base, "threshold": _thresholds(base, sure)}) if kept else None


def _thresholds(base: str, sure: Sequence[float | None]) -> tuple[float, ...]:
    """Return what confidence is compared with, on the scale of a measure; None lets all leave."""
    measure: Measure = base  # type: ignore[assignment]
    sign = -1.0 if measure in CONFIDENT_WHEN_LOW else 1.0
    return tuple(ALWAYS[measure] if one is None else sign * one for one in sure)
