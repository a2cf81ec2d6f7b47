"""Policies crossed with governors: energy and deadlines of every pair, at several deadlines and on changed devices."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from coc_cli.dvfs.energy import EnergyModel, Totals, Work, totals
from coc_cli.dvfs.governors import (
    GOVERNORS,
    LATE_MS,
    Governor,
    Levels,
    Load,
    Rule,
    Usual,
    Way,
    held,
    is_shorter_than_a_change,
    leaving,
)
from coc_cli.dvfs.profile import Profile
from coc_cli.exits.evaluation import resampled
from coc_cli.exits.points import (
    PASSIVE,
    Kit,
    Point,
    chosen,
    on_validation,
    outcome,
    parameters,
    predictor_macs,
    tuned,
    validation_paths,
)
from coc_cli.exits.policies import Paths, Policy, Predictive, first_sure
from coc_cli.exits.traces import Array, Trace

DEADLINES = (1.0, 1.25, 1.5, 2.0)  # times the longest path
SCHEDULED = "predictive"
OURS = ("predictive", "predictive-commit")
BOUND = "oracle"
VISITS = (None, 4, 2, 1)  # of inner exits behind the first, at most


@dataclass(frozen=True)
class Tried:
    """A policy at the point chosen for it on a device, and what it did with the test images."""

    point: Point
    model: EnergyModel
    usual: Usual
    load: Load
    paths: Paths
    score: Array  # [N]
    macs: Array  # [N]


@dataclass(frozen=True)
class Row:
    """A policy under a governor."""

    policy: str
    tried: Tried
    governor: Governor
    levels: Levels
    totals: Totals
    missed: float  # share of the inputs
    planned_mj: float  # the mean energy on validation; infinite if a deadline was missed there

    @property
    def energy_mj(self) -> float:
        """The mean, waiting until the deadline included."""
        return float(self.totals.energy_mj.mean())


def attempts(points: list[Point], least_score: float, kit: Kit, test: Trace, profile: Profile) -> list[Tried]:
    """Run a policy on the test images, at points that reach a score on validation.

    That is the one that needs least energy when racing, its threshold tuned so that the score is just reached, as it is
    by every policy. Of `predictive` there are variants that visit fewer exits and choose them by energy.
    """

    def price(point: Point) -> float:
        model, load = device(point.policy, kit, profile), _load(validation_paths(point.policy, kit))
        return float(_spent(model, load, held(load, model.fastest), 0.0).energy_mj.mean())

    point = chosen(points, least_score, price)
    point = chosen([point, *tuned(point, kit)], least_score, price)
    return [_tried(one, kit, test, profile) for one in variants(point, kit, profile, least_score)]


def device(policy: Policy, kit: Kit, profile: Profile) -> EnergyModel:
    """Give the time and energy that a policy's paths take."""
    spent = predictor_macs(policy)
    work = replace(kit.workload, predictor=Work({"fp32": spent})) if spent else kit.workload
    return EnergyModel(profile, work)


def variants(point: Point, kit: Kit, profile: Profile, least_score: float) -> list[Point]:
    """Give a point, and those like it that visit at most so many exits and choose them by energy."""
    policy = point.policy
    if not isinstance(policy, Predictive):
        return [point]
    model = device(policy, kit, profile)
    cost, asking = model.energy_mj[..., -1], float(model.predictor_mj[-1])
    made = [on_validation(replace(policy, cost=cost, asking=asking, visits=visits), kit) for visits in VISITS]
    return [point, *(one for one in made if one.score >= min(point.score, least_score) - 1e-12)]


def _tried(point: Point, kit: Kit, test: Trace, profile: Profile) -> Tried:
    score, macs, paths = outcome(point.policy, test, kit.workload)
    seen = validation_paths(point.policy, kit)
    usual = _usual(point.policy, seen, kit.workload.exits)
    return Tried(point, device(point.policy, kit, profile), usual, _load(paths), paths, score, macs)


def _load(paths: Paths) -> Load:
    return Load(paths.visited, paths.stays, paths.last, paths.most)


def _usual(policy: Policy, seen: Paths, exits: int) -> Usual:
    """Give what validation says of a policy: the way that inputs go, all together and by the exit promised."""
    may, most, promise = policy.may_visit(exits), policy.most_visits(exits), seen.last.min(1)
    promised = [last for last in np.unique(promise).tolist() if last < exits]
    ways = {last: _way(seen, promise == last, may, most) for last in promised}
    return Usual(may, most, _way(seen, promise >= 0, may, most), ways, _load(seen))


def _way(seen: Paths, rows: Array, may: tuple[int, ...], most: int) -> Way:
    """Give the exits that some inputs visit, where there are more than an input may those visited most often."""
    last = int(seen.last[rows].min(1).max())  # the latest exit that one of them had not promised to leave before
    inner = [exit_ for exit_ in may[1:] if exit_ < last]
    often = seen.visited[rows].sum(0)
    inner = sorted(sorted(inner, key=lambda exit_: -often[exit_])[:most])
    visits = tuple(dict.fromkeys((may[0], *inner, max(last, may[0]))))
    return Way(visits, leaving(visits, seen.exit[rows]))


def longest_ms(tried: Mapping[str, list[Tried]]) -> float:
    """Give what the deadline 1.0x is: the longest path of any policy at the highest level, one transition included."""
    every = [one for variants in tried.values() for one in variants]
    return max(float(one.usual.worst_ms(one.model)[-1]) + one.model.transition_ms for one in every)


def crossed(tried: Mapping[str, list[Tried]], deadline_ms: float) -> Iterator[Row]:
    """Give every policy under every governor that it allows; the first is classic under race.

    Of a policy's variants the one that needs least on validation.
    """
    for name, ones in tried.items():
        for governor in GOVERNORS:
            if governor.needs_prediction and not ones[0].point.policy.predicts:
                continue
            planned = [_planned(one, governor, deadline_ms) for one in ones]
            mj, one, rule = min(planned, key=lambda plan: plan[0])
            levels = rule(one.load)
            found = _spent(one.model, one.load, levels, deadline_ms)
            yield Row(name, one, governor, levels, found, _missed(found, deadline_ms), mj)


def _planned(one: Tried, governor: Governor, deadline_ms: float) -> tuple[float, Tried, Rule]:
    """Give what a policy needs on validation under a governor, infinite where it misses a deadline, and the rule."""
    rule, load = governor.rule(one.model, one.usual, deadline_ms), one.usual.load
    found = _spent(one.model, load, rule(load), deadline_ms)
    return np.inf if _missed(found, deadline_ms) else float(found.energy_mj.mean()), one, rule


def _spent(model: EnergyModel, load: Load, levels: Levels, deadline_ms: float) -> Totals:
    return totals(model, load.visited, levels.level, levels.rest, deadline_ms)


def _missed(found: Totals, deadline_ms: float) -> float:
    return float((found.latency_ms > deadline_ms + LATE_MS).mean())


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
        "one_level": row.levels.are_one,
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
    """Give the row whose schedule is written: ours, under the governor that needs least on validation, none missed."""
    return min((row for row in rows if row.policy == SCHEDULED), key=lambda row: row.planned_mj)


def notes(rows: list[Row]) -> list[str]:
    """Say what a reader of the schedule would wonder about."""
    row = scheduled(rows)
    model, usual = row.tried.model, row.tried.usual
    if not is_shorter_than_a_change(model, usual):
        return []
    longest, level = usual.worst_ms(model)[-1], model.profile.frequency_mhz.values[row.levels.rest]
    times = f"{longest:.3g} ms at the highest frequency, a change of frequency {model.transition_ms:.3g} ms"
    return [f"the longest path takes {times}: {row.policy} holds one level, {level:g} MHz"]


def best(rows: list[Row], policies: tuple[str, ...]) -> Row | None:
    """Give the row of some policies that needs least energy on validation and misses no deadline there."""
    good = [row for row in rows if row.policy in policies and np.isfinite(row.planned_mj)]
    return min(good, key=lambda row: row.planned_mj, default=None)


def worth(rows: list[Row], weights: Array | None = None) -> dict[str, Any]:
    """Give what the prediction is worth: the share that it closes of the gap between best passive policy and oracle.

    Each under its best governor, chosen on validation; energies are those of test. `weights` [B, N] of bootstrap
    samples add 95 % intervals. The share is None where there is no gap.
    """
    passive, ours, bound = best(rows, PASSIVE), best(rows, OURS), best(rows, (BOUND,))
    if passive is None or ours is None or bound is None:
        return {"passive": None, "ours": None, "oracle": None, "gap_closed": None, "saved_passive": None}
    gap = passive.energy_mj - bound.energy_mj
    found = {
        **{name: _named(row) for name, row in (("passive", passive), ("ours", ours), ("oracle", bound))},
        "gap_closed": (passive.energy_mj - ours.energy_mj) / gap if gap > 0 else None,
        "saved_passive": 1 - ours.energy_mj / passive.energy_mj,
    }
    if weights is not None:
        theirs, mine, least = (weights @ row.totals.energy_mj for row in (passive, ours, bound))
        found["saved_passive_ci95"] = np.percentile(1 - mine / theirs, (2.5, 97.5)).tolist()
        closed = (theirs - mine) / np.where(theirs > least, theirs - least, np.nan)
        known = gap > 0 and not np.isnan(closed).any()
        found["gap_closed_ci95"] = np.percentile(closed, (2.5, 97.5)).tolist() if known else None
    return found


def _named(row: Row) -> dict[str, Any]:
    return {"policy": row.policy, "governor": row.governor.name, "energy_mj_mean": row.energy_mj}


def across(tried: Mapping[str, list[Tried]], factor: float, longest: float) -> dict[str, Any]:
    """Give the whole cross table at a deadline of so many times the longest path, with intervals."""
    rows = list(crossed(tried, factor * longest))
    weights = resampled(len(rows[0].levels.level))
    return {
        "deadline": f"{factor:g}x",
        "deadline_ms": factor * longest,
        "rows": [
            {
                **_named(row),
                "latency_ms_mean": float(row.totals.latency_ms.mean()),
                "energy_mj_ci95": np.percentile(weights @ row.totals.energy_mj, (2.5, 97.5)).tolist(),
                "energy_saving": 1 - row.energy_mj / rows[0].energy_mj,
                "deadline_miss_rate": row.missed,
                "one_level": row.levels.are_one,
            }
            for row in rows
        ],
        "worth": worth(rows, weights),
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


def sensitivity(tried: Mapping[str, list[Tried]], deadline_ms: float, profile: Profile) -> list[dict[str, Any]]:
    """Give what the prediction is worth on devices in which one assumed number is another; the deadline in ms stays."""
    weights = resampled(len(tried["classic"][0].load))
    found = []
    for name, change in CHANGES.items():
        changed = change(profile)
        again = {
            policy: [replace(one, model=EnergyModel(changed, one.model.workload)) for one in tried[policy]]
            for policy in ("classic", *PASSIVE, *OURS, BOUND)
            if policy in tried
        }
        found.append({"change": name, **worth(list(crossed(again, deadline_ms)), weights)})
    return found
