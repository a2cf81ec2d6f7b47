"""Policies crossed with governors: levels, time and energy of every pair at a deadline."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

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
from coc_cli.exits.points import (
    Kit,
    Point,
    chosen,
    outcome,
    predictor_macs,
    reaching,
    tuned,
    validation_paths,
)
from coc_cli.exits.policies import Foretelling, Oracle, Paths, Policy, Predictive
from coc_cli.exits.traces import Array, Trace

SCHEDULED = "predictive"
VISITS = (None, 4, 2, 1)  # of inner exits behind the first, at most
CAPS = (1.0, 0.95, 0.9)  # the chance to have left by the exit where it answers in any case


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
    by every policy. Of `predictive` and `oracle` there are variants.
    """

    def price(point: Point) -> float:
        model, load = device(point.policy, kit, profile), load_of(validation_paths(point.policy, kit))
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
    """Give a point, and those like it that begin elsewhere, or promise more: fewer visits, an answer by some exit.

    Each has the lowest threshold that reaches the score. They choose exits by energy.
    """
    policy, starts = point.policy, kit.starts()
    made: list[Foretelling] = []
    if isinstance(policy, Oracle):
        made = [replace(policy, start=start) for start in starts]
    elif isinstance(policy, Predictive):
        model = device(policy, kit, profile)
        plain = replace(policy, cost=model.energy_mj[..., -1], asking=float(model.predictor_mj[-1]))
        made = [replace(plain, visits=visits, cap=cap) for visits in VISITS for cap in CAPS]
        made += [replace(plain, start=start) for start in starts if start != policy.start]
    found = [reaching(one, least_score, kit) for one in made]
    return [point, *(one for one in found if one.score >= min(point.score, least_score) - 1e-12)]


def _tried(point: Point, kit: Kit, test: Trace, profile: Profile) -> Tried:
    score, macs, paths = outcome(point.policy, test, kit.workload)
    seen = validation_paths(point.policy, kit)
    usual = usual_of(point.policy, seen, kit.workload.exits)
    return Tried(point, device(point.policy, kit, profile), usual, load_of(paths), paths, score, macs)


def load_of(paths: Paths) -> Load:
    """Give what governors need of paths."""
    return Load(paths.visited, paths.stays, paths.last, paths.most)


def usual_of(policy: Policy, seen: Paths, exits: int) -> Usual:
    """Give what validation says of a policy: the way that inputs go, all together and by the exit promised."""
    may, most, promise = policy.may_visit(exits), policy.most_visits(exits), seen.last.min(1)
    promised = [last for last in np.unique(promise).tolist() if last < exits]
    ways = {last: _way(seen, promise == last, may, most) for last in promised}
    return Usual(may, most, _way(seen, promise >= 0, may, most), ways, load_of(seen))


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


def scheduled(rows: list[Row]) -> Row:
    """Give the row whose schedule is written: ours, under the governor that needs least on validation, none missed."""
    return min((row for row in rows if row.policy == SCHEDULED), key=lambda row: row.planned_mj)


def notes(rows: list[Row]) -> list[str]:
    """Say what a reader of the schedule would wonder about."""
    row, said = scheduled(rows), []
    model, usual = row.tried.model, row.tried.usual
    if is_shorter_than_a_change(model, usual):
        longest, level = usual.worst_ms(model)[-1], model.profile.frequency_mhz.values[row.levels.rest]
        times = f"{longest:.3g} ms at the highest frequency, a change of frequency {model.transition_ms:.3g} ms"
        said.append(f"the longest path takes {times}: {row.policy} holds one level, {level:g} MHz")
    plain = best(rows, ("classic",))
    if plain is not None and plain.energy_mj < row.energy_mj:
        needs = f"without exits {plain.governor.name} needs {plain.energy_mj:.4g} mJ an input"
        said.append(f"{needs}, the schedule {row.energy_mj:.4g} mJ: on this device exits do not pay")
    return said


def best(rows: list[Row], policies: tuple[str, ...]) -> Row | None:
    """Give the row of some policies that needs least energy on validation and misses no deadline there."""
    good = [row for row in rows if row.policy in policies and np.isfinite(row.planned_mj)]
    return min(good, key=lambda row: row.planned_mj, default=None)
