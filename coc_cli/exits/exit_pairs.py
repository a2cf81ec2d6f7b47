"""What choices of thresholds cost, two exits' at a time in every combination, and exchanges among them.

"Not kept" and "all leave here" are thresholds too. What an input costs is a sum over what it runs, so all combinations
of a pair come from histograms over the thresholds that inputs pass at both exits, added up.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import product

import numpy as np

from coc_cli.dvfs.energy import Array
from coc_cli.exits.traces import Shifted

COARSE, FINE = 14, 20  # thresholds tried of an exit
MOST_STARTS = 2  # from which exchanges begin, the cheapest
NEAR = 0.2  # of the inputs: how far around a threshold others are tried
EQUAL, ROUNDING = 1e-12, 1e-9  # of a mean, and of what comes out of sums and differences of many
Choice = tuple[int, ...]  # of each exit's thresholds


@dataclass(frozen=True)
class PartCosts:
    """What each part costs and how long it takes, in any unit: costs add up to what is made small."""

    segment: Array  # [E + 1]
    head: Array  # [E]
    segment_ms: Array  # [E + 1]
    head_ms: Array  # [E]
    limit_ms: float = np.inf  # of the longest path


class _State:
    """Who comes where under a choice, and what that costs and scores; [N] each."""

    def __init__(self, leave: list[Array], segment: Array, head: Array, score: Array) -> None:
        self.leave, self.segment, self.score = leave, segment, score
        self.part = segment[:-1] + head  # of those that come to an exit
        alive, cost, scored = np.ones(score.shape[1]), 0.0, 0.0
        self.before: list[tuple[Array, float, float]] = []  # who comes to an exit; spent and scored until then, of all
        for at, left in enumerate(leave):
            self.before.append((alive, cost, scored))
            cost, scored = cost + alive.sum() * self.part[at], scored + float((alive * left) @ score[at])
            alive = alive * (1 - left)
        ahead, ahead_score = np.full(score.shape[1], float(segment[-1])), score[-1].astype(float)
        behind = []
        for at in range(len(leave) - 1, -1, -1):
            behind.append((ahead, ahead_score))
            ahead = self.part[at] + (1 - leave[at]) * ahead
            ahead_score = leave[at] * score[at] + (1 - leave[at]) * ahead_score
        self.behind = behind[::-1]  # what follows an exit for an input that goes on there
        self._between: dict[tuple[int, int], tuple[Array, Array, Array]] = {}

    def between(self, first: int, second: int) -> tuple[Array, Array, Array]:
        """Return, for an input that goes on from one exit, whether it comes to another, cost and score between."""
        stays, cost, score = self._passed(first, second)
        return stays, cost + stays * self.segment[second], score

    def _passed(self, first: int, second: int) -> tuple[Array, Array, Array]:
        if second == first + 1:
            none = np.zeros(self.score.shape[1])
            return none + 1, none, none
        if (first, second) not in self._between:
            stays, cost, score = self._passed(first, second - 1)
            at, left = second - 1, self.leave[second - 1]
            now = stays * left
            self._between[first, second] = (stays - now, cost + stays * self.part[at], score + now * self.score[at])
        return self._between[first, second]


@dataclass(frozen=True)
class ExitPairs:
    """What all combinations of two exits' thresholds cost, with those of the others as they are."""

    confidence: Array
    score: Array
    costs: PartCosts
    least_score: float
    values: list[Array]  # thresholds of each exit, rising; infinity: not kept
    _known: dict[Choice, _State] = field(default_factory=dict)
    _places: dict[tuple[int, int], Array] = field(default_factory=dict)  # in the histogram of two exits

    @property
    def exits(self) -> int:
        return len(self.confidence)

    @property
    def combinations(self) -> int:
        """How many combinations of all exits but the last two there are."""
        return int(np.prod([float(len(values)) for values in self.values[:-2]]))

    @cached_property
    def passed(self) -> list[Array]:
        """How many thresholds of each exit inputs pass there: they leave at those before that place; [N] each."""
        pairs = zip(self.confidence, self.values, strict=True)
        return [np.count_nonzero(row[None] >= values[:, None], axis=0) for row, values in pairs]

    def thresholds(self, choice: Choice) -> tuple[float, ...]:
        return tuple(float(values[place]) for values, place in zip(self.values, choice, strict=True))

    def starts(self) -> list[Choice]:
        """Return no exits; each exit as the only answer; and all exits at the same quantile."""
        none = tuple(len(values) - 1 for values in self.values)
        alone = [tuple(0 if exit_ == only else place for exit_, place in enumerate(none)) for only in range(self.exits)]
        every = [
            tuple(max(0, min(place, len(values) - 2)) for values in self.values) for place in (COARSE // 2, COARSE)
        ]
        return [none, *alone, *every]

    def including(self, start: Shifted) -> ExitPairs:
        """Return the same with the thresholds of another choice among those that are tried."""
        values = [np.unique([*values, least]) for values, least in zip(self.values, start.least, strict=True)]
        return self._trying(values)

    def near(self, start: Shifted) -> ExitPairs:
        """Return the same with thresholds around those of a choice; no exit is kept that it does not keep."""
        values = []
        for row, least in zip(self.confidence, start.least, strict=True):
            if np.isinf(least):
                values.append(np.array([least]))
                continue
            ranks = np.linspace(-NEAR, NEAR, FINE) + (row < least).mean()
            tried = np.quantile(row[np.isfinite(row)], ranks[(ranks > 0) & (ranks < 1)])
            values.append(np.unique([*tried, least, np.inf]))
        return self._trying(values)

    def _trying(self, values: list[Array]) -> ExitPairs:
        """Return the same with other thresholds; nothing that was worked out for these holds."""
        return replace(self, values=values, _known={}, _places={})

    def places(self, start: Shifted) -> Choice:
        return tuple(int(np.searchsorted(*pair)) for pair in zip(self.values, start.least, strict=True))

    def around(self, choice: Choice) -> ExitPairs:
        """Return the same with finer thresholds around those chosen."""
        values = []
        for row, tried, place in zip(self.confidence, self.values, choice, strict=True):
            ends = tried[np.isinf(tried)]
            if np.isinf(tried[place]):
                values.append(np.unique([*tried[np.isfinite(tried)][::4], *ends]))
                continue
            low, high = tried[max(0, place - 1)], tried[min(len(tried) - 1, place + 1)]
            near = np.sort(row[(row > low) & (row < high)])
            near = near[np.linspace(0, len(near) - 1, FINE).astype(int)] if len(near) > FINE else near
            values.append(np.unique([*near, tried[place], *ends]))
        return self._trying(values)

    def nearest(self, other: ExitPairs, choice: Choice) -> Choice:
        """Return the same choice among these thresholds, which hold those of it."""
        return tuple(int(np.searchsorted(*pair)) for pair in zip(self.values, other.thresholds(choice), strict=True))

    def longest_ms(self, choice: Choice) -> float:
        """Return the time of the longest path."""
        spent = 0.0
        for exit_, place in enumerate(choice):
            least = float(self.values[exit_][place])
            spent += float(self.costs.segment_ms[exit_] + (least < np.inf) * self.costs.head_ms[exit_])
            if least == -np.inf:
                return spent
        return spent + float(self.costs.segment_ms[-1])

    def outcome(self, choice: Choice) -> tuple[float, float]:
        """Return mean cost and mean score."""
        alive, cost, score = np.ones(self.score.shape[1]), 0.0, 0.0
        for exit_, place in enumerate(choice):
            kept = self.values[exit_][place] < np.inf
            cost += float(alive.sum()) * float(self.costs.segment[exit_] + kept * self.costs.head[exit_])
            leave = alive * (self.confidence[exit_] >= self.values[exit_][place])
            score += float(leave @ self.score[exit_])
            alive = alive - leave
        cost += float(alive.sum()) * float(self.costs.segment[-1])
        return cost / len(alive), (score + float(alive @ self.score[-1])) / len(alive)

    def is_allowed(self, choice: Choice) -> bool:
        return self.longest_ms(choice) <= self.costs.limit_ms + EQUAL

    def descended(self, starts: Sequence[Choice]) -> tuple[Choice, float, float] | None:
        """Return the cheapest end, with cost and score, of exchanges from those starts that are good; None of none."""
        good = []
        for start in dict.fromkeys(starts):
            cost, score = self.outcome(start)
            if self.is_allowed(start) and score >= self.least_score - EQUAL:
                good.append((cost, score, start))
        ends = [self._end(start, cost, score) for cost, score, start in sorted(good)[:MOST_STARTS]]
        return min(ends, key=lambda end: end[1], default=None)

    def is_better(self, found: tuple[Choice, float, float], cost: float) -> bool:
        """Return whether what was found costs less, and is good as `outcome` counts too."""
        margin = ROUNDING * max(1.0, abs(self.least_score))
        return found[1] * (1 + EQUAL) < cost and found[2] >= self.least_score - margin

    def exhausted(self) -> tuple[Choice, float, float] | None:
        """Return the cheapest of all combinations."""
        best: tuple[Choice, float, float] | None = None
        tail = tuple(0 for _ in self.values[-2:])
        for head in product(*(range(len(values)) for values in self.values[:-2])):
            at_most = best[1] if best else np.inf
            found = self._best_of_pair((*head, *tail), max(0, self.exits - 2), self.exits - 1, at_most)
            if found is not None and self.is_better(found, best[1] if best else np.inf):
                best = found
        return best

    def _end(self, choice: Choice, cost: float, score: float) -> tuple[Choice, float, float]:
        pairs = [(first, second) for first in range(self.exits) for second in range(first + 1, self.exits)]
        since = 0
        while since < max(1, len(pairs)):
            for first, second in pairs or [(0, 0)]:
                found = self._best_of_pair(choice, first, second, cost)
                if found is not None and self.is_better(found, cost):
                    (choice, cost, score), since = found, 0
                else:
                    since += 1
                if since >= max(1, len(pairs)):
                    break
        return choice, cost, score

    def _best_of_pair(
        self, choice: Choice, first: int, second: int, at_most: float
    ) -> tuple[Choice, float, float] | None:
        """Return the cheapest choice in which two exits' thresholds may be any; None where none is good and cheaper."""
        cost, score, longest = self.tables(choice, first, second)
        good = (
            (score >= self.least_score - EQUAL)
            & (longest <= self.costs.limit_ms + EQUAL)
            & (cost < at_most * (1 - 10 * ROUNDING))
        )
        if not good.any():
            return None
        # Of equal costs the one with later thresholds: a head that nobody uses is not kept.
        places = np.argwhere(good & (cost <= cost[good].min() * (1 + ROUNDING)))[-1].tolist()
        made = list(choice)
        made[first] = places[0]
        made[second] = places[-1]
        return (tuple(made), *self.outcome(tuple(made)))

    def tables(self, choice: Choice, first: int, second: int) -> tuple[Array, Array, Array]:
        """Return mean cost, mean score and longest time with every threshold of two exits, [T, T] each.

        Of one exit with itself, [T].
        """
        if first == second:
            every = [self._with(choice, {first: place}) for place in range(len(self.values[first]))]
            outcomes = [self.outcome(one) for one in every]
            return (*np.array(outcomes).T, np.array([self.longest_ms(one) for one in every]))  # type: ignore[return-value]
        n, costs = self.score.shape[1], self.costs
        state = self._state(choice)
        alive, cost, score = state.before[first]
        kept_first, kept_second = (self.values[exit_] < np.inf for exit_ in (first, second))
        stays, between_cost, between_score = state.between(first, second)
        behind_cost, behind_score = state.behind[second]
        comes = alive * stays
        cost_behind, score_behind = comes * behind_cost, comes * behind_score
        # What inputs add that go on from the first: whatever happens at the second, and less if they leave there.
        at_first = (alive * between_cost + cost_behind, alive * between_score + score_behind, comes)
        always_cost, always_score, come = (self._going_on(first, weight) for weight in at_first)
        less_cost, less_score = (
            self._leaving(first, second, weight) for weight in (cost_behind, score_behind - comes * self.score[second])
        )
        scored = alive * self.score[first]
        cost_table = (
            cost
            + alive.sum() * costs.segment[first]
            + (alive.sum() * costs.head[first] * kept_first + always_cost)[:, None]
            + np.outer(come, costs.head[second] * kept_second)
            - less_cost
        )
        at_first_score = scored.sum() - self._going_on(first, scored) + always_score
        score_table = score + at_first_score[:, None] - less_score
        return cost_table / n, score_table / n, self._longest(choice, first, second)

    def _going_on(self, exit_: int, weight: Array) -> Array:
        """Return the weight of the inputs that go on from an exit with each of its thresholds, [T]."""
        counts = np.bincount(self.passed[exit_], weight, len(self.values[exit_]) + 1)
        result: Array = np.cumsum(counts)[:-1]
        return result

    def _leaving(self, first: int, second: int, weight: Array) -> Array:
        """Return the weight of those that go on from the first and leave at the second of two exits, [T, T]."""
        rows, columns = (len(self.values[exit_]) + 1 for exit_ in (first, second))
        counts = np.bincount(self._both(first, second), weight, rows * columns).reshape(rows, columns)
        result: Array = np.cumsum(np.cumsum(counts, 0)[:, ::-1], 1)[:-1, -2::-1]
        return result

    def _both(self, first: int, second: int) -> Array:
        key = first, second
        if key not in self._places:
            self._places[key] = self.passed[first] * (len(self.values[second]) + 1) + self.passed[second]
        return self._places[key]

    def _with(self, choice: Choice, changes: dict[int, int]) -> Choice:
        return tuple(changes.get(exit_, place) for exit_, place in enumerate(choice))

    def _state(self, choice: Choice) -> _State:
        """Return what is known of a choice, worked out once for all its pairs."""
        if choice not in self._known:
            self._known.clear()
            leave = [(passed > place).astype(float) for passed, place in zip(self.passed, choice, strict=True)]
            kept = [values[place] < np.inf for values, place in zip(self.values, choice, strict=True)]
            self._known[choice] = _State(leave, self.costs.segment, self.costs.head * kept, self.score)
        return self._known[choice]

    def _longest(self, choice: Choice, first: int, second: int) -> Array:
        """Return the longest time with every threshold of two exits, [T, T]; it depends on which are kept alone."""
        if self.costs.segment_ms.sum() + self.costs.head_ms.sum() <= self.costs.limit_ms:
            return np.zeros((len(self.values[first]), len(self.values[second])))
        found = [
            np.unique(np.sign(values) * np.isinf(values), return_index=True, return_inverse=True)
            for values in (self.values[first], self.values[second])
        ]
        times = [
            [self.longest_ms(self._with(choice, {first: int(one), second: int(other)})) for other in found[1][1]]
            for one in found[0][1]
        ]
        result: Array = np.array(times)[np.ix_(found[0][2], found[1][2])]
        return result
