"""The answer in a few lines: what to use on this device, what it needs, and whether exits and prediction pay."""

from __future__ import annotations

from collections.abc import Iterator

from coc_cli.exits.equal_score import ONE_LEVEL_SUBSET, PASSIVE_KINDS, EqualScore, Saving
from coc_cli.exits.policies import names_in
from coc_cli.exits.policies.classic import Classic
from coc_cli.exits.policies.subset import Subset
from coc_cli.exits.policy_governor_grid import GridRow, best
from coc_cli.units import metric_text, percent

NAMES = {Classic.name: "no exits", PASSIVE_KINDS: "exits in turn", ONE_LEVEL_SUBSET: "a subset, one level"}


def answer(
    rows: list[GridRow], row: GridRow, equal: EqualScore, deadline: str, metric: str, baseline: float | None
) -> list[str]:
    """Return the answer, a line each; `row` is the one that is scheduled, of `rows` at the deadline."""
    profile = row.evaluated.model.profile
    head = f"on {profile.name} with the deadline {deadline}: use {_named(row)}"
    return [head, _needs(row, rows[0], metric, baseline), *_infeasible(rows), *_compared(equal), *_verdicts(row, equal)]


def _named(row: GridRow) -> str:
    return f"{NAMES.get(row.policy, row.policy)} under {row.governor.name}"


def _needs(row: GridRow, plain: GridRow, metric: str, baseline: float | None) -> str:
    """Say what it needs and loses, on test: scores are measured, times and energies are a model."""
    sign = 1 if metric == "accuracy" else -1
    value, full = (sign * float(one.evaluated.score.mean()) for one in (row, plain))
    parts = [f"{metric} {metric_text(metric, value)} (no exits {metric_text(metric, full)}"]
    parts[0] += ")" if baseline is None else f", the baseline of the run {metric_text(metric, baseline)})"
    parts.append(f"{row.energy_mj:.4g} mJ and {row.totals.latency_ms.mean():.4g} ms an input (model)")
    return ", ".join(parts)


def _infeasible(rows: list[GridRow]) -> Iterator[str]:
    """Yield which policies cannot promise the deadline, and what they could."""
    late = {}
    for row in rows:
        if row.evaluated.policy.family != "bound" and best(rows, [row.policy]) is None:
            late[row.policy] = row.least_ms / row.evaluated.model.plain_ms
    if late:
        yield "too late on their longest path: " + ", ".join(f"{name} (from {ms:.3g}x)" for name, ms in late.items())


def _compared(equal: EqualScore) -> Iterator[str]:
    """Yield the energy of each kind of policy at equal score on test, and what it saves against no exits."""
    yield "energy of an input at equal score on test (max_drop below the final output), model:"
    ours = _ours(equal)
    for name in (Classic.name, PASSIVE_KINDS, ONE_LEVEL_SUBSET, Subset.name, *([ours] if ours else [])):
        if name not in equal.rows or (saving := equal.saving(name, Classic.name)) is None:
            continue
        row, label = equal.rows[name], NAMES.get(name, name)
        under = row.governor.name if label == row.policy else f"{row.policy}, {row.governor.name}"
        against = "" if name == Classic.name else f"   saves {_interval(saving)}"
        yield f"  {f'{label} ({under})':44}{equal.energy_mj[name][0]:9.4g} mJ{against}"


def _ours(equal: EqualScore) -> str | None:
    """Return the policy with prediction that needs least on validation."""
    there = [name for name in names_in("paper", "ours") if name in equal.rows]
    return min(there, key=lambda name: equal.rows[name].validation_mj, default=None)


def _verdicts(row: GridRow, equal: EqualScore) -> Iterator[str]:
    """Yield whether exits pay, and prediction beyond the best exits without it."""
    if row.policy == Classic.name:
        yield "exits do not pay here: what they save, trying them costs"
    elif (saving := equal.saving(row.policy, Classic.name)) is not None:
        yield f"exits {_pay(saving, many=True)}: {_less(saving)} energy than without"
    ours = _ours(equal)
    if ours is None:
        return
    if (saving := equal.saving(ours, Subset.name)) is not None:
        yield f"prediction {_pay(saving)}: {_less(saving)} energy than the best subset without it"


def _pay(saving: Saving, *, many: bool = False) -> str:
    low, high = saving.ci95 or (float("-inf"), float("inf"))
    if low > 0:
        return "pay" if many else "pays"
    return f"{'do' if many else 'does'} not pay" if high <= 0 else "may or may not pay"


def _less(saving: Saving) -> str:
    """Say how much less is needed, or more."""
    if saving.fraction >= 0:
        return f"{_interval(saving)} less"
    ends = None if saving.ci95 is None else (-saving.ci95[1], -saving.ci95[0])
    return f"{_interval(Saving(-saving.fraction, ends, saving.unread))} more"


def _interval(saving: Saving) -> str:
    if saving.ci95 is None:
        return f"{percent(saving.fraction)} (no interval: {saving.unread} samples do not reach the score)"
    return f"{percent(saving.fraction)} ({percent(saving.ci95[0])}..{percent(saving.ci95[1])})"
