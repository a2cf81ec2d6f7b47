"""The grid of policies and governors: levels, time and energy of every pair at a deadline."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from coc_cli.dvfs.energy import Array, EnergyModel, Totals, Work, totals
from coc_cli.dvfs.governors import GOVERNORS
from coc_cli.dvfs.governors.governor import (
    LATE_MS,
    Governor,
    LevelChoice,
    PathBatch,
    PathStatistics,
    Rule,
    TypicalPath,
    exit_rates,
    hold_level,
    is_shorter_than_a_change,
)
from coc_cli.dvfs.profile import Profile
from coc_cli.exits.operating_points import (
    OperatingPoint,
    chosen,
    outcome,
    reaching,
    tuned,
    validation_paths,
)
from coc_cli.exits.policies.classic import Classic
from coc_cli.exits.policies.context import PolicyContext
from coc_cli.exits.policies.policy import Paths, Policy
from coc_cli.exits.policies.predictive import Predictive
from coc_cli.exits.traces import Trace

SCHEDULED = Predictive.name  # the policy whose schedule is written


@dataclass(frozen=True)
class EvaluatedPolicy:
    """A policy at the point chosen for it on a device, and what it did with the test images."""

    point: OperatingPoint
    model: EnergyModel
    statistics: PathStatistics  # of validation
    batch: PathBatch
    paths: Paths
    score: Array  # [N]
    macs: Array  # [N]


@dataclass(frozen=True)
class GridRow:
    """A policy under a governor."""

    policy: str
    evaluated: EvaluatedPolicy
    governor: Governor
    levels: LevelChoice
    totals: Totals
    miss_rate: float  # of the inputs
    validation_mj: float  # the mean energy on validation; infinite if a deadline was missed there

    @property
    def energy_mj(self) -> float:
        """The mean, waiting until the deadline included."""
        return float(self.totals.energy_mj.mean())


def evaluate_policy(
    points: list[OperatingPoint], least_score: float, context: PolicyContext, test: Trace, profile: Profile
) -> list[EvaluatedPolicy]:
    """Run a policy on the test images, at points that reach a score on validation.

    That is the one that needs least energy when racing, its threshold tuned so that the score is just reached, as it is
    by every policy; then its variants, each with the lowest threshold that reaches the score.
    """

    def price(point: OperatingPoint) -> float:
        model, batch = energy_model(point.policy, context, profile), path_batch(validation_paths(point.policy, context))
        return float(_totals(model, batch, hold_level(batch, model.fastest), 0.0).energy_mj.mean())

    point = chosen(points, least_score, price)
    point = chosen([point, *tuned(point, context)], least_score, price)
    model = energy_model(point.policy, context, profile)
    variants = [reaching(one, least_score, context) for one in point.policy.variants(context, model)]
    good = [one for one in variants if one.score >= min(point.score, least_score) - 1e-12]
    return [_evaluated(one, context, test, profile) for one in (point, *good)]


def energy_model(policy: Policy, context: PolicyContext, profile: Profile) -> EnergyModel:
    """Return the time and energy that a policy's paths take."""
    macs = policy.prediction_macs
    work = replace(context.workload, predictor=Work({"fp32": macs})) if macs else context.workload
    return EnergyModel(profile, work)


def _evaluated(point: OperatingPoint, context: PolicyContext, test: Trace, profile: Profile) -> EvaluatedPolicy:
    score, macs, paths = outcome(point.policy, test, context.workload)
    seen = validation_paths(point.policy, context)
    statistics = path_statistics(point.policy, seen, context.workload.exits)
    model = energy_model(point.policy, context, profile)
    return EvaluatedPolicy(point, model, statistics, path_batch(paths), paths, score, macs)


def path_batch(paths: Paths) -> PathBatch:
    """Return what governors need of paths."""
    return PathBatch(paths.visited, paths.continue_probability, paths.latest_exit, paths.max_visits)


def path_statistics(policy: Policy, seen: Paths, exits: int) -> PathStatistics:
    """Return what validation says of a policy: the path of inputs, all together and by their latest exit."""
    may, visits, latest = policy.may_visit(exits), policy.max_visits(exits), seen.latest_exit.min(1)
    bound = [exit_ for exit_ in np.unique(latest).tolist() if exit_ < exits]
    by_latest = {exit_: _typical_path(seen, latest == exit_, may, visits) for exit_ in bound}
    return PathStatistics(may, visits, _typical_path(seen, latest >= 0, may, visits), by_latest, path_batch(seen))


def _typical_path(seen: Paths, rows: Array, may: tuple[int, ...], max_visits: int) -> TypicalPath:
    """Return the exits that some inputs visit, where there are more than an input may those visited most often."""
    latest = int(seen.latest_exit[rows].min(1).max())  # the latest exit that one of them was not bound to leave before
    inner = [exit_ for exit_ in may[1:] if exit_ < latest]
    often = seen.visited[rows].sum(0)
    inner = sorted(sorted(inner, key=lambda exit_: -often[exit_])[:max_visits])
    visits = tuple(dict.fromkeys((may[0], *inner, max(latest, may[0]))))
    return TypicalPath(visits, exit_rates(visits, seen.exit[rows]))


def longest_path_ms(evaluated: Mapping[str, list[EvaluatedPolicy]]) -> float:
    """Return what the deadline 1.0x is: the longest path of any policy at the highest level, with one transition."""
    every = [one for variants in evaluated.values() for one in variants]
    return max(float(one.statistics.worst_ms(one.model)[-1]) + one.model.transition_ms for one in every)


def grid_rows(evaluated: Mapping[str, list[EvaluatedPolicy]], deadline_ms: float) -> Iterator[GridRow]:
    """Yield every policy under every governor that it allows; the first is classic under race.

    Of a policy's variants the one that needs least on validation.
    """
    for name, variants in evaluated.items():
        for governor in GOVERNORS:
            if governor.needs_prediction and not variants[0].point.policy.predicts:
                continue
            planned = [_on_validation(one, governor, deadline_ms) for one in variants]
            mj, one, rule = min(planned, key=lambda plan: plan[0])
            levels = rule(one.batch)
            test = _totals(one.model, one.batch, levels, deadline_ms)
            yield GridRow(name, one, governor, levels, test, _miss_rate(test, deadline_ms), mj)


def _on_validation(one: EvaluatedPolicy, governor: Governor, deadline_ms: float) -> tuple[float, EvaluatedPolicy, Rule]:
    """Return what a policy needs on validation under a governor, infinite where it misses a deadline, and the rule."""
    rule, batch = governor.rule(one.model, one.statistics, deadline_ms), one.statistics.validation
    needs = _totals(one.model, batch, rule(batch), deadline_ms)
    return np.inf if _miss_rate(needs, deadline_ms) else float(needs.energy_mj.mean()), one, rule


def _totals(model: EnergyModel, batch: PathBatch, levels: LevelChoice, deadline_ms: float) -> Totals:
    return totals(model, batch.visited, levels.level, levels.rest, deadline_ms)


def _miss_rate(result: Totals, deadline_ms: float) -> float:
    return float((result.latency_ms > deadline_ms + LATE_MS).mean())


def scheduled(rows: list[GridRow]) -> GridRow:
    """Return the row whose schedule is written: ours, under the governor that needs least on validation."""
    return min((row for row in rows if row.policy == SCHEDULED), key=lambda row: row.validation_mj)


def notes(rows: list[GridRow]) -> list[str]:
    """Return what a reader of the schedule would wonder about."""
    row, texts = scheduled(rows), []
    model, statistics = row.evaluated.model, row.evaluated.statistics
    if is_shorter_than_a_change(model, statistics):
        longest, level = statistics.worst_ms(model)[-1], model.profile.frequency_mhz.values[row.levels.rest]
        times = f"{longest:.3g} ms at the highest frequency, a change of frequency {model.transition_ms:.3g} ms"
        texts.append(f"the longest path takes {times}: {row.policy} holds one level, {level:g} MHz")
    without = best(rows, (Classic.name,))
    if without is not None and without.energy_mj < row.energy_mj:
        needs = f"without exits {without.governor.name} needs {without.energy_mj:.4g} mJ an input"
        texts.append(f"{needs}, the schedule {row.energy_mj:.4g} mJ: on this device exits do not pay")
    return texts


def best(rows: list[GridRow], policies: Sequence[str]) -> GridRow | None:
    """Return the row of some policies that needs least energy on validation and misses no deadline there."""
    good = [row for row in rows if row.policy in policies and np.isfinite(row.validation_mj)]
    return min(good, key=lambda row: row.validation_mj, default=None)
