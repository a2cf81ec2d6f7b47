"""Policies crossed with governors: energy and deadlines of every pair, at several deadlines and on changed devices."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from coc_cli.dvfs.energy import EnergyModel, Totals, Work, totals
from coc_cli.dvfs.governors import GOVERNORS, Governor, Levels, Load, leaving
from coc_cli.dvfs.profile import Profile
from coc_cli.exits.points import PASSIVE, Kit, Point, outcome, parameters, predictor_macs, validation_exits
from coc_cli.exits.policies import Paths, first_sure
from coc_cli.exits.traces import Array, Trace

DEADLINES = (1.0, 1.25, 1.5, 2.0)  # times the longest path
SCHEDULED = "predictive"
OURS = ("predictive", "predictive-commit")
BOUND = "oracle"
LATE_MS = 1e-9


@dataclass(frozen=True)
class Tried:
    """A policy at the point chosen for it, on the test images."""

    point: Point
    paths: Paths
    load: Load
    score: Array  # [N]
    macs: Array  # [N]
    model: EnergyModel


@dataclass(frozen=True)
class Row:
    """A policy under a governor."""

    policy: str
    tried: Tried
    governor: Governor
    levels: Levels
    totals: Totals
    missed: float  # share of the inputs

    @property
    def energy_mj(self) -> float:
        """The mean, waiting until the deadline included."""
        return float(self.totals.energy_mj.mean())


def attempt(point: Point, kit: Kit, test: Trace, profile: Profile) -> Tried:
    """Run a policy on the test images; what a governor may know beforehand is from validation."""
    score, macs, paths = outcome(point.policy, test, kit.workload)
    longest = point.policy.longest(kit.workload.exits)
    leaves = leaving(longest, validation_exits(point.policy, kit))
    spent = predictor_macs(point.policy)
    work = replace(kit.workload, predictor=Work({"fp32": spent})) if spent else kit.workload
    load = Load(paths.visited, longest, leaves, paths.stays)
    return Tried(point, paths, load, score, macs, EnergyModel(profile, work))


def longest_ms(tried: dict[str, Tried]) -> float:
    """Give what the deadline 1.0x is: the longest path of any policy at the highest level, one transition included."""
    return max(float(one.model.path_ms(one.load.longest)[-1]) + one.model.transition_ms for one in tried.values())


def crossed(tried: dict[str, Tried], deadline_ms: float) -> Iterator[Row]:
    """Give every policy under every governor that it allows; the first is classic under race."""
    for name, one in tried.items():
        for governor in GOVERNORS:
            if governor.needs_prediction and not one.point.policy.predicts:
                continue
            levels = governor.levels(one.model, one.load, deadline_ms)
            found = totals(one.model, one.paths.visited, levels.level, levels.rest, deadline_ms)
            missed = float((found.latency_ms > deadline_ms + LATE_MS).mean())
            yield Row(name, one, governor, levels, found, missed)


def described(row: Row, first: Row, test: Trace) -> dict[str, Any]:
    """Give what predict-exit.json says of a row; `first` is classic under race."""
    one, full = row.tried, row.tried.model.workload.full_macs
    return {
        "policy": row.policy,
        "governor": row.governor.name,
        "metric_value": float(one.score.mean()) * (1 if test.is_classes else -1),
        "macs_mean": float(one.macs.mean()),
        "macs_reduction": float(1 - one.macs.mean() / full),
        "latency_ms_mean": float(row.totals.latency_ms.mean()),
        "energy_mj_mean": row.energy_mj,
        "energy_saving": 1 - row.energy_mj / first.energy_mj,
        "deadline_miss_rate": row.missed,
        "predictor": _hits(one, test),
        "parameters": parameters(one.point.policy),
        "exit_shares": (np.bincount(one.paths.exit, minlength=test.exits + 1) / len(test)).tolist(),
    }


def _hits(one: Tried, test: Trace) -> dict[str, float] | None:
    """Say how good a policy's forecasts are: against the first exit behind that would have been sure enough."""
    policy: Any = one.point.policy
    if not policy.predicts or not hasattr(policy, "least"):
        return None
    errors = []
    for at in range(test.exits):
        rows = np.flatnonzero(one.paths.predicted[:, at] >= 0)
        errors.append(one.paths.predicted[rows, at] - first_sure(test, policy.measure, policy.least, after=at)[rows])
    gaps, asked = np.concatenate(errors), (one.paths.predicted >= 0).sum(1)
    if not len(gaps):
        return {"hit_rate": 1.0, "mean_abs_error": 0.0, "repredictions_mean": 0.0}
    return {
        "hit_rate": float((gaps == 0).mean()),
        "mean_abs_error": float(np.abs(gaps).mean()),
        "repredictions_mean": float(np.maximum(asked - 1, 0).mean()),
    }


def scheduled(rows: list[Row]) -> Row:
    """Give the row whose schedule is written: ours, under the governor that misses no deadline at the least energy."""
    ours = [row for row in rows if row.policy == SCHEDULED]
    return min([row for row in ours if not row.missed] or ours, key=lambda row: row.energy_mj)


def best(rows: list[Row], policies: tuple[str, ...]) -> Row | None:
    """Give the row of least energy of some policies that misses no deadline."""
    good = [row for row in rows if row.policy in policies and not row.missed]
    return min(good, key=lambda row: row.energy_mj, default=None)


def worth(rows: list[Row]) -> dict[str, Any]:
    """Give what the prediction is worth: the share that it closes of the gap between best passive policy and oracle.

    Each under its best governor that misses no deadline. The share is None where there is no gap.
    """
    passive, ours, bound = best(rows, PASSIVE), best(rows, OURS), best(rows, (BOUND,))
    if passive is None or ours is None or bound is None:
        return {"passive": None, "ours": None, "oracle": None, "gap_closed": None, "saved_passive": None}
    gap = passive.energy_mj - bound.energy_mj
    return {
        **{name: _named(row) for name, row in (("passive", passive), ("ours", ours), ("oracle", bound))},
        "gap_closed": (passive.energy_mj - ours.energy_mj) / gap if gap > 0 else None,
        "saved_passive": 1 - ours.energy_mj / passive.energy_mj,
    }


def _named(row: Row) -> dict[str, Any]:
    return {"policy": row.policy, "governor": row.governor.name, "energy_mj_mean": row.energy_mj}


def across(tried: dict[str, Tried], factor: float, longest: float) -> dict[str, Any]:
    """Give the whole cross table at a deadline of so many times the longest path."""
    rows = list(crossed(tried, factor * longest))
    return {
        "deadline": f"{factor:g}x",
        "deadline_ms": factor * longest,
        "rows": [
            {
                **_named(row),
                "latency_ms_mean": float(row.totals.latency_ms.mean()),
                "energy_saving": 1 - row.energy_mj / rows[0].energy_mj,
                "deadline_miss_rate": row.missed,
            }
            for row in rows
        ],
        "worth": worth(rows),
    }


def _scaled(profile: Profile, factor: float, *path: str) -> Profile:
    """Give a profile in which one number is another."""
    content = profile.model_dump()
    at = content
    for key in path:
        at = at[key]
    at["value"] *= factor
    return Profile.model_validate(content)


def _spread(profile: Profile, factor: float) -> Profile:
    """Give a profile whose voltages lie so many times as far below the highest, half of it at least."""
    top = profile.voltage_mv.values[-1]
    values = tuple(max(top / 2, top - factor * (top - value)) for value in profile.voltage_mv.values)
    return profile.model_copy(update={"voltage_mv": profile.voltage_mv.model_copy(update={"values": values})})


CHANGES: dict[str, Callable[[Profile], Profile]] = {
    "as it is": lambda profile: profile,
    "voltage range x 0.5": lambda profile: _spread(profile, 0.5),
    "voltage range x 1.25": lambda profile: _spread(profile, 1.25),
    "static power x 0.5": lambda profile: _scaled(profile, 0.5, "static_power_mw"),
    "static power x 2": lambda profile: _scaled(profile, 2, "static_power_mw"),
    "idle power x 0.5": lambda profile: _scaled(profile, 0.5, "idle_power_mw"),
    "idle power x 2": lambda profile: _scaled(profile, 2, "idle_power_mw"),
    "transition time x 0.1": lambda profile: _scaled(profile, 0.1, "transition", "time_us"),
    "transition time x 10": lambda profile: _scaled(profile, 10, "transition", "time_us"),
}


def sensitivity(tried: dict[str, Tried], deadline_ms: float, profile: Profile) -> list[dict[str, Any]]:
    """Give what the prediction is worth on devices in which one assumed number is another; the deadline in ms stays."""
    found = []
    for name, change in CHANGES.items():
        changed = change(profile)
        again = {
            policy: replace(one, model=EnergyModel(changed, one.model.workload))
            for policy, one in tried.items()
            if policy in ("classic", *PASSIVE, *OURS, BOUND)
        }
        found.append({"change": name, **worth(list(crossed(again, deadline_ms)))})
    return found
