"""The subsets of exits that are worth their heads, for the fewest MACs, and for a device at its deadlines."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice

import numpy as np

from coc_cli.dvfs.energy import EnergyModel
from coc_cli.exits.exit_pairs import PartCosts
from coc_cli.exits.policies.context import PolicyContext
from coc_cli.exits.subset_search import search
from coc_cli.exits.traces import Shifted, Trace, stretched

SKIPPED = 0.3  # of a head's cost is left where predictions skip most visits
MOST_LEVELS = 3  # of a device, the lowest that keep a deadline, for which subsets are searched


def with_subsets(
    context: PolicyContext, least_scores: Iterable[float], deadlines_ms: Sequence[float], least_score: float
) -> PolicyContext:
    """Search the subsets of fewest MACs for each score, and those of least energy for a score at each deadline.

    For energy at each of the lower levels that keep the deadline; at the first deadline also as if heads cost a part of
    what they do, for policies that will not visit each. Every subset is searched again on all but a fold of
    validation, among the exits that it keeps, so that images which its thresholds are not of tell how well it does.
    """
    model, work, found = context.model(), context.workload, _Subsets(context)
    macs = PartCosts(work.segment_macs, work.head_macs, np.zeros(work.exits + 1), np.zeros(work.exits))
    by_macs = [found.search(macs, score) for score in dict.fromkeys(least_scores)]
    by_energy, cheap = [], None
    for deadline in dict.fromkeys(deadlines_ms):
        at_levels = ((found.search(costs, least_score), costs) for costs in _at_levels(model, deadline))
        good = list(islice(((one, costs) for one, costs in at_levels if one is not None), MOST_LEVELS))
        by_energy += [one for one, _ in good]
        if cheap is None and good:
            cheap = found.search(replace(good[0][1], head=good[0][1].head * SKIPPED), least_score)
    return replace(
        context,
        by_macs=tuple(dict.fromkeys(filter(None, by_macs))),
        by_energy=tuple(dict.fromkeys(by_energy)),
        refitted=found.refitted,
        many_exits=cheap,
    )


def _at_levels(model: EnergyModel, deadline_ms: float) -> Iterator[PartCosts]:
    """Yield what parts cost at a level throughout: energy, less that of waiting for as long."""
    times, energies = model.segments[:, 0], model.segments[:, 1]
    shortest = np.cumsum(times, 0)[:-1] + model.heads[:-1, 0]  # [E, levels]: of an answer at an exit alone
    fits = np.minimum(shortest.min(0), times.sum(0)) <= deadline_ms
    for level in np.flatnonzero(fits).tolist():
        head_ms = model.heads[:-1, 0, level]
        yield PartCosts(
            energies[:, level] - times[:, level] * model.idle_mw / 1e3,
            model.heads[:-1, 1, level] - head_ms * model.idle_mw / 1e3,
            times[:, level],
            head_ms,
            deadline_ms,
        )


@dataclass(frozen=True)
class _Subsets:
    """The subsets found so far, each with those that all but a fold of validation gave."""

    context: PolicyContext
    refitted: dict[Shifted, tuple[Shifted, ...]] = field(default_factory=dict)

    def search(self, costs: PartCosts, least_score: float) -> Shifted | None:
        """Search a subset, beginning also where the search before ended; None where there is none."""
        context, base = self.context, self.context.measure
        confidence, score = stretched(context.trace.confidence(base), base), context.trace.score
        one = search(confidence, score, costs, least_score, base, starts=list(self.refitted)[-1:])
        if one is None:
            return None
        if one.measure not in self.refitted:
            loss = float(score[-1].mean()) - least_score
            self.refitted[one.measure] = tuple(_within(rest, costs, loss, one.measure) for rest in context.rests)
        return one.measure


def _within(rest: Trace, costs: PartCosts, loss: float, measure: Shifted) -> Shifted:
    """Return a subset with thresholds that a trace of all images but those of a fold gave."""
    confidence = stretched(rest.confidence(measure.base), measure.base)
    least_score = float(rest.score[-1].mean()) - loss
    one = search(confidence, rest.score, costs, least_score, measure.base, within=measure)
    return measure if one is None else one.measure
