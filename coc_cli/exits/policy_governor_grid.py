"""The grid of policies and governors: levels, time and energy of every pair at a deadline."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from coc_cli.dvfs.energy import Array, EnergyModel, Totals, totals
from coc_cli.dvfs.governors import GOVERNORS
from coc_cli.dvfs.governors.constant import Constant
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
from coc_cli.errors import user_error
from coc_cli.exits.operating_points import OperatingPoint, good, outcome, reaching, validation_paths
from coc_cli.exits.policies import POLICIES, names_in
from coc_cli.exits.policies.context import PolicyContext
from coc_cli.exits.policies.policy import Paths, Policy
from coc_cli.exits.traces import Trace

DEPLOYABLE = names_in("none", "passive", "paper", "ours")  # what a device can do
MOST_PLANNED = 3  # of a policy's variants, for which levels that vary are planned
MOST_FORMS = 6  # of a policy, those that need least energy when racing, that meet the governors


@dataclass(frozen=True)
class EvaluatedPolicy:
    """A policy at the point chosen for it on a device, and what it did with the test images."""

    policy: Policy
    model: EnergyModel
    statistics: PathStatistics  # of validation
    batch: PathBatch
    paths: Paths
    score: Array  # [N]
    macs: Array  # [N]

    @property
    def longest_ms(self) -> float:
        """The time of the longest path at the highest level."""
        return float(self.statistics.worst_ms(self.model)[-1])


@dataclass(frozen=True)
class GridRow:
    """A policy under a governor."""

    policy: str
    evaluated: EvaluatedPolicy
    governor: Governor
    levels: LevelChoice
    totals: Totals
    miss_rate: float  # of the inputs
    validation_mj: float  # the mean energy on validation; infinite if a deadline is or can be missed
    least_ms: float  # the least deadline that a form of the policy keeps on its longest path

    @property
    def energy_mj(self) -> float:
        """The mean, waiting until the deadline included."""
        return float(self.totals.energy_mj.mean())


def evaluate_policy(name: str, least_score: float, context: PolicyContext, test: Trace) -> list[EvaluatedPolicy]:
    """Run a policy on the test images, in the forms that reach a score on validation and need least energy there.

    Every form of every policy is as sure as it has to be for that score, on one grid; then come the variants of the
    best one. Which of them counts is chosen by governor and deadline.
    """
    points = good([reaching(shape, least_score, context) for shape in POLICIES[name].shapes(context)], least_score)
    seen = [validation_paths(point.policy, context) for point in points]
    racing = [_racing_mj(*pair, context) for pair in zip(points, seen, strict=True)]
    cheapest, *others = np.argsort(racing, kind="stable")[:MOST_FORMS].tolist()
    variants = [reaching(one, least_score, context) for one in points[cheapest].policy.variants(context)]
    variants = [one for one in variants if one.reaches(min(points[cheapest].score, least_score))]
    return [
        *(evaluated(points[place].policy, context, test, seen[place]) for place in (cheapest, *others)),
        *(evaluated(one.policy, context, test) for one in variants),
    ]


def _racing_mj(point: OperatingPoint, seen: Paths, context: PolicyContext) -> float:
    model, batch = context.model(point.policy.prediction_macs), path_batch(seen)
    return float(_totals(model, batch, hold_level(batch, model.fastest), 0.0).energy_mj.mean())


def evaluated(policy: Policy, context: PolicyContext, test: Trace, seen: Paths | None = None) -> EvaluatedPolicy:
    """Run a policy on the test images; `seen` are its paths on validation, if they are known."""
    score, macs, paths = outcome(policy, test, context.workload)
    statistics = path_statistics(policy, seen or validation_paths(policy, context), context.workload.exits)
    model = context.model(policy.prediction_macs)
    return EvaluatedPolicy(policy, model, statistics, path_batch(paths), paths, score, macs)


def path_batch(paths: Paths) -> PathBatch:
    """Return what governors need of paths."""
    return PathBatch(paths.visited, paths.continue_probability, paths.latest_exit, paths.max_visits)


def path_statistics(policy: Policy, seen: Paths, exits: int) -> PathStatistics:
    """Return what validation says of a policy: the path of inputs, all together and by their latest exit."""
    may, visits, latest = policy.may_visit(exits), policy.max_visits(exits), seen.latest_exit.min(1)
    bound = [exit_ for exit_ in np.unique(latest).tolist() if exit_ < exits]
    by_latest = {exit_: _typical_path(seen, latest == exit_, may, visits) for exit_ in bound}
    typical, last = _typical_path(seen, latest >= 0, may, visits), policy.last_exit(exits)
    return PathStatistics(may, visits, typical, by_latest, path_batch(seen), last, policy.answers_at_first)


def _typical_path(seen: Paths, rows: Array, may: tuple[int, ...], max_visits: int) -> TypicalPath:
    """Return the exits that some inputs visit, where there are more than an input may those visited most often."""
    latest = int(seen.latest_exit[rows].min(1).max())  # the latest exit that one of them was not bound to leave before
    inner = [exit_ for exit_ in may[1:] if exit_ < latest]
    often = seen.visited[rows].sum(0)
    inner = sorted(sorted(inner, key=lambda exit_: -often[exit_])[:max_visits])
    visits = tuple(dict.fromkeys((may[0], *inner, max(latest, may[0]))))
    return TypicalPath(visits, exit_rates(visits, seen.exit[rows]))


def grid_rows(evaluated: Mapping[str, list[EvaluatedPolicy]], deadline_ms: float) -> Iterator[GridRow]:
    """Yield every policy under every governor that it allows; the first is classic under race.

    Of a policy's variants the one that needs least on validation; levels that vary are planned for those alone that
    need little at one level.
    """
    for name, own in evaluated.items():
        variants = [*own, *(one for known in POLICIES[name].knows_all_of for one in evaluated.get(known, []))]
        least_ms = min(variant.longest_ms for variant in variants)
        held = [_on_validation(one, Constant(), deadline_ms) for one in variants]
        little = np.argsort([mj for mj, *_ in held], kind="stable")[:MOST_PLANNED]
        for governor in GOVERNORS:
            if governor.needs_prediction and not own[0].policy.predicts:
                continue
            tried = [variants[place] for place in little] if governor.varies else variants
            is_held = isinstance(governor, Constant)
            planned = held if is_held else [_on_validation(one, governor, deadline_ms) for one in tried]
            mj, one, rule = min(planned, key=lambda plan: plan[0])
            yield _row(name, one, governor, (mj, rule), least_ms, deadline_ms)


def row_of(one: EvaluatedPolicy, governor: Governor, deadline_ms: float) -> GridRow:
    """Return a single policy under a governor."""
    mj, _, rule = _on_validation(one, governor, deadline_ms)
    return _row(one.policy.name, one, governor, (mj, rule), one.longest_ms, deadline_ms)


def _row(
    name: str,
    one: EvaluatedPolicy,
    governor: Governor,
    planned: tuple[float, Rule],
    least_ms: float,
    deadline_ms: float,
) -> GridRow:
    mj, rule = planned
    levels = rule(one.batch)
    test = _totals(one.model, one.batch, levels, deadline_ms)
    return GridRow(name, one, governor, levels, test, _miss_rate(test, deadline_ms), mj, least_ms)


def _on_validation(one: EvaluatedPolicy, governor: Governor, deadline_ms: float) -> tuple[float, EvaluatedPolicy, Rule]:
    """Return what a policy needs on validation under a governor, infinite where it can be late, and the rule."""
    rule, batch = governor.rule(one.model, one.statistics, deadline_ms), one.statistics.validation
    needs = _totals(one.model, batch, rule(batch), deadline_ms)
    is_late = one.longest_ms > deadline_ms + LATE_MS or _miss_rate(needs, deadline_ms) > 0
    return np.inf if is_late else float(needs.energy_mj.mean()), one, rule


def on_test(one: EvaluatedPolicy, governor: Governor, deadline_ms: float) -> Totals:
    """Return what a policy takes on the test images under a governor."""
    levels = governor.rule(one.model, one.statistics, deadline_ms)(one.batch)
    return _totals(one.model, one.batch, levels, deadline_ms)


def _totals(model: EnergyModel, batch: PathBatch, levels: LevelChoice, deadline_ms: float) -> Totals:
    return totals(model, batch.visited, levels.level, levels.rest, deadline_ms)


def _miss_rate(result: Totals, deadline_ms: float) -> float:
    return float((result.latency_ms > deadline_ms + LATE_MS).mean())


def scheduled(rows: list[GridRow]) -> GridRow:
    """Return the row whose schedule is written: what needs least energy on validation and keeps the deadline.

    Raises `UserError` where nothing keeps it.
    """
    row = best(rows, DEPLOYABLE)
    if row is None:
        first = min((one for one in rows if one.policy in DEPLOYABLE), key=lambda one: one.least_ms)
        needs = f"{first.policy} needs {first.least_ms:.4g} ms"
        raise user_error("--deadline", f"no policy keeps it on its longest path; {needs}")
    return row


def notes(row: GridRow) -> list[str]:
    """Return what a reader of a schedule would wonder about."""
    texts = []
    model, statistics = row.evaluated.model, row.evaluated.statistics
    if is_shorter_than_a_change(model, statistics):
        longest, level = row.evaluated.longest_ms, model.profile.frequency_mhz.values[row.levels.rest]
        change_ms = max(model.transition_ms, model.settle_ms)
        times = f"{longest:.3g} ms at the highest frequency, a change of frequency {change_ms:.3g} ms"
        texts.append(f"the longest path takes {times}: {row.policy} holds one level, {level:g} MHz")
    return texts


def best(rows: list[GridRow], policies: Sequence[str], governors: Sequence[str] = ()) -> GridRow | None:
    """Return the row of some policies that needs least energy on validation and cannot miss the deadline.

    Where nothing is saved by it, a policy that comes later in the registry is not taken.
    """
    there = [row for row in rows if row.policy in policies and row.governor.keeps_deadlines]
    there = [row for row in there if np.isfinite(row.validation_mj)]
    there = [row for row in there if not governors or row.governor.name in governors]
    return min(there, key=lambda row: row.validation_mj, default=None)
