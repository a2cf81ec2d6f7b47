"""What policies need at equal score on test: each is made surer and less sure around its point, and read in between."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from coc_cli.dvfs.energy import Array
from coc_cli.exits.curves import macs_at
from coc_cli.exits.policies import names_in
from coc_cli.exits.policies.classic import Classic
from coc_cli.exits.policies.context import GRID, PolicyContext
from coc_cli.exits.policies.subset import Subset
from coc_cli.exits.policy_governor_grid import GridRow, best, evaluated, on_test
from coc_cli.exits.traces import Trace
from coc_cli.intervals import middle_95, resampled_weights

AROUND = (-30, -12, -4, 4, 12, 30)  # steps of the grid
MOST_UNREAD = 0.05  # of the bootstrap samples; over it no interval is given
ONE_LEVEL = ("race", "constant")


@dataclass(frozen=True)
class Saving:
    """What is saved against an opponent at equal score: a fraction, and its interval over the test images."""

    fraction: float
    ci95: tuple[float, float] | None
    unread: int  # bootstrap samples in which one of both does not reach the score


@dataclass(frozen=True)
class EqualScore:
    """Energy of policies, each under its best governor, at a mean score of test; [1 + B], the first of all images."""

    energy_mj: Mapping[str, Array]  # by name: that of a policy, or ONE_LEVEL_SUBSET
    rows: Mapping[str, GridRow]

    def saving(self, name: str, opponent: str) -> Saving | None:
        """Return what one saves against another; None where one of them does not reach the score."""
        if name not in self.energy_mj or opponent not in self.energy_mj:
            return None
        fraction = 1 - self.energy_mj[name] / self.energy_mj[opponent]
        if np.isnan(fraction[0]):
            return None
        sampled = fraction[1:][~np.isnan(fraction[1:])]
        unread = len(fraction) - 1 - len(sampled)
        is_read = unread <= MOST_UNREAD * (len(fraction) - 1)
        return Saving(float(fraction[0]), middle_95(sampled) if is_read else None, unread)


ONE_LEVEL_SUBSET = "subset at one level"
PASSIVE_KINDS = "best passive kind of the papers"


def at_equal_score(
    rows: Sequence[GridRow], context: PolicyContext, test: Trace, deadline_ms: float, drop: float
) -> EqualScore:
    """Return what each policy needs at `drop` below the final output's score on test, under its best governor."""
    every = list(rows)
    chosen = {name: best(every, [name]) for name in dict.fromkeys(row.policy for row in every)}
    chosen[ONE_LEVEL_SUBSET] = best(every, [Subset.name], ONE_LEVEL)
    kinds = [name for name in names_in("passive") if name != Subset.name]
    chosen[PASSIVE_KINDS] = best(every, kinds)
    full = test.score[-1]
    weights = np.concatenate([np.full((1, len(full)), 1 / len(full)), resampled_weights(len(full))])
    goals = weights @ full - drop
    found: dict[str, Array] = {}
    known: dict[tuple[str, str], Array] = {}
    for name, row in chosen.items():
        if row is None:
            continue
        key = row.policy, row.governor.name
        if key not in known:
            known[key] = _read(row, context, test, deadline_ms, weights, goals)
        found[name] = known[key]
    return EqualScore(found, {name: row for name, row in chosen.items() if row is not None})


def _read(row: GridRow, context: PolicyContext, test: Trace, deadline_ms: float, weights: Array, goals: Array) -> Array:
    """Return the energy of a row's policy at each goal, NaN where it is not reached; [B]."""
    scores, energies = [row.evaluated.score], [row.totals.energy_mj]
    policy = row.evaluated.policy
    if policy.is_tuned:
        here = policy.step(context)
        for step in sorted({min(max(here + around, 0), GRID - 1) for around in AROUND}):
            one = evaluated(policy.at_step(step, context), context, test)
            scores.append(one.score)
            energies.append(on_test(one, row.governor, deadline_ms).energy_mj)
    score, energy = weights @ np.stack(scores).T, weights @ np.stack(energies).T
    triples = zip(score, energy, goals, strict=True)
    return np.array([macs_at(scored, needed, goal) for scored, needed, goal in triples])


def saved_by(one: EqualScore, name: str) -> dict[str, Saving | None]:
    """Return what a policy saves against each opponent."""
    return {opponent: one.saving(name, opponent) for opponent in OPPONENTS}


OPPONENTS = (Classic.name, PASSIVE_KINDS, ONE_LEVEL_SUBSET, Subset.name)
