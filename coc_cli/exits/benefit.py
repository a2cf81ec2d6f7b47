"""What the prediction is worth: ours against the best passive policy and the bound, by deadline and device."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from coc_cli.dvfs.energy import Array, EnergyModel
from coc_cli.dvfs.profile import Amount, Profile
from coc_cli.exits.policies import names_in
from coc_cli.exits.policies.classic import Classic
from coc_cli.exits.policies.oracle import Oracle
from coc_cli.exits.policies.subset import Subset
from coc_cli.exits.policy_governor_grid import EvaluatedPolicy, GridRow, best, grid_rows
from coc_cli.exits.report_rows import named, summary
from coc_cli.intervals import middle_95, resampled_weights
from coc_cli.report.schema import predict_exit as schema
from coc_cli.report.schema.part import as_data

DEADLINES = (1.05, 1.25, 1.5, 2.0)  # times the plain network at the highest frequency
BOUND = Oracle.name  # of the bounds, the one that has run as far as a policy has before it predicts


def benefit(rows: list[GridRow], weights: Array | None = None) -> schema.BenefitEntry:
    """Return what the prediction is worth: the fraction of the gap from best passive policy to oracle that it closes.

    Each under its best governor, chosen on validation, where all reach the same score; energies are those of test, and
    so is how much better ours scores than the best passive policy (accuracy, or minus the error).
    `weights` [B, N] of bootstrap samples add 95 % intervals. The fraction is None where there is no gap.
    """
    passive, ours, bound = best(rows, names_in("passive")), best(rows, names_in("ours")), best(rows, (BOUND,))
    if passive is None or ours is None or bound is None:
        return schema.BenefitEntry(passive=None, ours=None, oracle=None, gap_closed=None, saved_passive=None)
    gap = passive.energy_mj - bound.energy_mj
    better = ours.evaluated.score - passive.evaluated.score
    intervals: dict[str, Any] = {}
    if weights is not None:
        theirs, mine, bound_mj = (weights @ row.totals.energy_mj for row in (passive, ours, bound))
        intervals["saved_passive_ci95"] = middle_95(1 - mine / theirs)
        closed = (theirs - mine) / np.where(theirs > bound_mj, theirs - bound_mj, np.nan)
        has_interval = gap > 0 and not np.isnan(closed).any()
        intervals["score_difference_ci95"] = middle_95(weights @ better)
        intervals["gap_closed_ci95"] = middle_95(closed) if has_interval else None
    return schema.BenefitEntry(
        passive=named(passive),
        ours=named(ours),
        oracle=named(bound),
        gap_closed=(passive.energy_mj - ours.energy_mj) / gap if gap > 0 else None,
        saved_passive=1 - ours.energy_mj / passive.energy_mj,
        score_difference=float(better.mean()),
        **intervals,
    )


def at_deadline(rows: list[GridRow], factor: float, deadline_ms: float) -> schema.Deadline:
    """Return the complete grid at a deadline, which is so many times the plain network's time, with intervals."""
    weights = resampled_weights(len(rows[0].levels.level))
    entries = [
        schema.DeadlineRow(
            **as_data(summary(row, rows[0])),
            energy_mj_ci95=middle_95(weights @ row.totals.energy_mj),
        )
        for row in rows
    ]
    return schema.Deadline(deadline=f"{factor:g}x", deadline_ms=deadline_ms, rows=entries, worth=benefit(rows, weights))


def _scaled(profile: Profile, factor: float, *path: str) -> Profile:
    """Return a profile in which one number is another."""
    content = profile.model_dump()
    at = content
    for key in path:
        at = at[key]
    at["value"] *= factor
    return Profile.model_validate(content)


def _spread(profile: Profile, factor: float) -> Profile:
    """Return a profile whose voltages lie so many times as far below the highest, half of it at least."""
    top = profile.voltage_mv.values[-1]
    values = tuple(max(top / 2, top - factor * (top - value)) for value in profile.voltage_mv.values)
    return profile.model_copy(update={"voltage_mv": profile.voltage_mv.model_copy(update={"values": values})})


def _settling(profile: Profile, settle_us: Amount | None) -> Profile:
    """Return a profile in which levels take so long to take effect."""
    return profile.model_copy(update={"transition": profile.transition.model_copy(update={"settle_us": settle_us})})


TWO_WATTS = Amount(value=2000, source="assumed")
CHANGES: dict[str, Callable[[Profile], Profile]] = {
    "as it is": lambda profile: profile,
    "voltage range x 0.5": lambda profile: _spread(profile, 0.5),
    "voltage range x 1.25": lambda profile: _spread(profile, 1.25),
    "static power x 0.5": lambda profile: _scaled(profile, 0.5, "static_power_mw"),
    "static power x 2": lambda profile: _scaled(profile, 2, "static_power_mw"),
    "idle power x 0.5": lambda profile: _scaled(profile, 0.5, "idle_power_mw"),
    "idle power x 2": lambda profile: _scaled(profile, 2, "idle_power_mw"),
    "board and memory of 2 W": lambda profile: profile.model_copy(update={"board_power_mw": TWO_WATTS}),
    "transition time x 0.1": lambda profile: _scaled(profile, 0.1, "transition", "time_us"),
    "transition time x 10": lambda profile: _scaled(profile, 10, "transition", "time_us"),
    "levels settle at once": lambda profile: _settling(profile, None),
    "levels settle in 5 ms": lambda profile: _settling(profile, Amount(value=5000, source="assumed")),
}


def sensitivity(rows: list[GridRow], deadline_ms: float, profile: Profile) -> list[schema.ChangeEntry]:
    """Return what the prediction is worth where one assumed number is another; the deadline in ms stays.

    `rows` are those of the device as it is: of the policies that are compared, the forms that a governor takes there.
    """
    weights = resampled_weights(len(rows[0].evaluated.batch))
    compared = (best(rows, [*names_in("passive")]), best(rows, names_in("ours")), best(rows, [BOUND]))
    names = {Classic.name, Subset.name, *(row.policy for row in compared if row is not None)}
    evaluated: dict[str, list[EvaluatedPolicy]] = {}
    for row in rows:
        if row.policy in names:
            forms = evaluated.setdefault(row.policy, [])
            forms += [row.evaluated] if all(row.evaluated is not form for form in forms) else []
    changes = []
    for name, change in CHANGES.items():
        changed = change(profile)
        again = {
            policy: [replace(one, model=EnergyModel(changed, one.model.workload)) for one in forms]
            for policy, forms in evaluated.items()
        }
        changes.append(
            schema.ChangeEntry(change=name, **as_data(benefit(list(grid_rows(again, deadline_ms)), weights)))
        )
    return changes
