"""From decided pairs to an order: a topological sort, what it leaves open, and cycles, which are never broken."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from graphlib import CycleError, TopologicalSorter
from itertools import combinations, pairwise

from coc_cli.order.verdicts import Verdict


@dataclass(frozen=True)
class Sorted:
    """What decided pairs say of all stages together."""

    order: tuple[str, ...] | None  # ties as in the recipe; None where there is a cycle
    ties: tuple[tuple[str, str], ...]  # pairs that no verdict, and no chain of them, puts in an order
    cycle: tuple[str, ...] = ()  # stages, each decided to be before the next, and the last before the first
    weakest: Verdict | None = None  # of the cycle's verdicts


def sort(stages: Sequence[str], found: Sequence[Verdict]) -> Sorted:
    """Sort stages by decided verdicts; where these leave it open, as `stages` are."""
    edges = {one.edge: one for one in found if one.edge is not None}
    sorter: TopologicalSorter[str] = TopologicalSorter({stage: set() for stage in stages})
    for early, late in edges:
        sorter.add(late, early)
    try:
        sorter.prepare()
    except CycleError as error:
        around = tuple(error.args[1])  # each is before the next; the first stands at the end again
        weakest = max((edges[pair] for pair in pairwise(around)), key=lambda one: (one.p or 0.0, -abs(one.effect.mean)))
        return Sorted(None, _ties(stages, edges), around[:-1], weakest)
    order: list[str] = []
    ready: list[str] = []
    while sorter.is_active():
        ready = sorted([*ready, *sorter.get_ready()], key=stages.index)
        order.append(ready.pop(0))
        sorter.done(order[-1])
    return Sorted(tuple(order), _ties(stages, edges))


def _ties(stages: Sequence[str], edges: dict[tuple[str, str], Verdict]) -> tuple[tuple[str, str], ...]:
    later = {stage: {late for early, late in edges if early == stage} for stage in stages}
    for through in stages:  # Warshall 1962
        for stage in stages:
            if through in later[stage]:
                later[stage] |= later[through]
    return tuple(
        pair for pair in combinations(stages, 2) if pair[1] not in later[pair[0]] and pair[0] not in later[pair[1]]
    )
