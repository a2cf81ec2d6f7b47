"""Time and energy of a path through a network on a device: a model, not a measurement.

A network with E inner exits is cut into E + 1 segments. What an input runs is a path: the exits that it visits, in
order, the last of which is where it leaves. A stretch leads from one visited exit (-1: the input) to the next.
Segment time = max(MACs / throughput(f), bytes / bandwidth), plus an overhead for each exit visited.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

if TYPE_CHECKING:
    from coc_cli.dvfs.profile import Kind, Profile

Array: TypeAlias = "np.ndarray[Any, Any]"


@dataclass(frozen=True)
class Work:
    """What a part of a network does for one input."""

    macs: Mapping[Kind, float] = field(default_factory=dict)  # by the kind of numbers that it multiplies
    bytes: float = 0.0  # weights and tensors that it moves
    operations: float = 0.0  # element by element beside the MACs, each as long as one in fp32; they count as no MACs

    @property
    def total_macs(self) -> float:
        return sum(self.macs.values())


@dataclass(frozen=True)
class Workload:
    """What each part of a network with E inner exits does for one input."""

    segments: tuple[Work, ...]  # E + 1, of the backbone
    heads: tuple[Work, ...]  # E
    predictor: Work = Work()  # once at each exit from which the way goes on

    @property
    def exits(self) -> int:
        return len(self.heads)

    @property
    def segment_macs(self) -> Array:
        """Return the MACs of the backbone's segments, [E + 1]."""
        return np.array([work.total_macs for work in self.segments])

    @property
    def head_macs(self) -> Array:
        """Return the MACs of the heads, [E]."""
        return np.array([work.total_macs for work in self.heads])

    @property
    def full_macs(self) -> float:
        """Return the MACs of the path without exits."""
        return float(self.segment_macs.sum())

    @cached_property
    def stretch_macs(self) -> Array:
        """Return the MACs of each stretch [from + 1, to], [E + 1, E + 1]; of those that go nowhere 0."""
        done, heads = np.cumsum([0.0, *self.segment_macs]), np.append(self.head_macs, 0.0)
        start, end = np.arange(self.exits + 1)[:, None], np.arange(self.exits + 1)[None]
        return np.where(end >= start, done[end + 1] - done[start] + heads[end], 0.0)


class EnergyModel:
    """Time and energy of every stretch at every level, and of what lies between."""

    def __init__(self, profile: Profile, workload: Workload) -> None:
        self.profile, self.workload = profile, workload
        self.board_mw = profile.board_power_mw.value if profile.board_power_mw else 0.0
        frequency = np.array(profile.frequency_mhz.values)
        voltage = np.array(profile.voltage_mv.values)
        self.frequency_ratio = frequency / frequency[-1]  # [levels]
        self.voltage_ratio = voltage / voltage[-1]
        self.segments = np.stack([self._cost(work, overhead=False) for work in workload.segments])  # [E + 1, 2, levels]
        self.heads = np.stack(
            [*[self._cost(work, overhead=True) for work in workload.heads], np.zeros((2, profile.levels))]
        )  # [E + 1, 2, levels]: time and energy; the final output has none
        done = np.cumsum([np.zeros_like(self.segments[0]), *self.segments], 0)  # [E + 2, 2, levels]
        start, end = np.arange(workload.exits + 1)[:, None], np.arange(workload.exits + 1)[None]
        stretch = done[end + 1] - done[start] + self.heads[end]  # [from, to, 2, levels]
        predicted_behind = (start > 0) & (
            start < workload.exits
        )  # behind the last inner exit there is nothing to predict
        prediction = self._cost(workload.predictor, overhead=False)
        self.predictor_mj = prediction[1]  # [levels]
        stretch += np.where(predicted_behind, 1.0, 0.0)[..., None, None] * prediction
        stretch = np.where((end >= start)[..., None, None], stretch, 0.0)
        self.time_ms, self.energy_mj = stretch[:, :, 0], stretch[:, :, 1]  # [from + 1, to, level], active only
        self.transition_ms = profile.transition.time_us.value / 1e3
        self.transition_mj = profile.transition.energy_uj.value / 1e3 + self.transition_ms * self.board_mw / 1e3
        self.settle_ms = profile.transition.settle_us.value / 1e3 if profile.transition.settle_us else 0.0
        self.idle_mw = profile.idle_power_mw.value + self.board_mw
        self._ahead: dict[tuple[tuple[int, ...], int, int, int], Array] = {}  # longest times that were asked for

    def _cost(self, work: Work, *, overhead: bool) -> Array:
        """Return time (ms) and energy (mJ) of a part at each level, [2, levels]."""
        is_linear = self.profile.regulator is not None and self.profile.regulator.kind == "linear"
        dynamic = self.frequency_ratio * self.voltage_ratio ** (1 if is_linear else 2)
        computing, energy = np.zeros_like(self.frequency_ratio), np.zeros_like(self.frequency_ratio)
        parts: dict[Kind, float] = {**work.macs}
        if work.operations:
            parts["fp32"] = parts.get("fp32", 0.0) + work.operations
        for kind, macs in parts.items():
            arithmetic = self.profile.arithmetic_for(kind)
            time_ms = macs / (arithmetic.throughput_gmacs.value * 1e6 * self.frequency_ratio)
            computing = computing + time_ms
            energy = energy + time_ms * arithmetic.dynamic_power_mw.value * dynamic / 1e3
        time = np.maximum(computing, work.bytes / (self.profile.memory_bandwidth_gbs.value * 1e6))
        if overhead:
            busy_ms = self.profile.overhead_us.value / 1e3
            time = time + busy_ms
            energy = energy + busy_ms * self.profile.arithmetic["fp32"].dynamic_power_mw.value * dynamic / 1e3
        energy = energy + time * (self.profile.static_power_mw.value * self.voltage_ratio + self.board_mw) / 1e3
        return np.stack([time, energy])

    @cached_property
    def plain_ms(self) -> float:
        """The time of the network without exits at the highest level: what deadlines such as 1.25x are multiples of."""
        return float(self.time_ms[0, -1, -1])

    @property
    def fastest(self) -> int:
        """The index of the highest level."""
        return self.profile.levels - 1

    @cached_property
    def visit_ms(self) -> Array:
        """Return what visiting an inner exit on the way adds at each level: head, overhead, prediction; [E, levels]."""
        inner = np.arange(self.workload.exits)
        result: Array = self.time_ms[0, inner] + self.time_ms[inner + 1, -1] - self.time_ms[0, -1]
        return result

    def ahead_ms(self, may_visit: Sequence[int], at: int, latest_exit: int, max_visits: int) -> Array:
        """Return the longest time from exit `at` (-1: the input) to the answer at each level throughout, [levels].

        The answer is at `latest_exit` or at one before that it `may_visit`; on the way there an input visits at most
        `max_visits` of these. A head may take longer than all that is behind it, so each end is looked at.
        """
        key = tuple(may_visit), at, latest_exit, max_visits
        if key not in self._ahead:
            self._ahead[key] = self._longest_ahead(*key)
        return self._ahead[key]

    def _longest_ahead(self, may_visit: tuple[int, ...], at: int, latest_exit: int, max_visits: int) -> Array:
        between = [exit_ for exit_ in may_visit if at < exit_ < latest_exit]
        longest: Array = np.zeros_like(self.frequency_ratio)
        for place, end in enumerate((*between, latest_exit)):
            if end > at:
                dearest = np.sort(self.visit_ms[between[:place]], 0)[::-1][:max_visits]
                longest = np.maximum(longest, self.time_ms[at + 1, end] + dearest.sum(0))
        return longest

    def path_ms(self, exits: Sequence[int]) -> Array:
        """Return the time of the path that visits these exits, at each level throughout; [levels]."""
        starts = [0, *[exit_ + 1 for exit_ in exits[:-1]]]
        total: Array = np.zeros_like(self.frequency_ratio)
        for start, end in zip(starts, exits, strict=True):
            total = total + self.time_ms[start, end]
        return total


@dataclass(frozen=True)
class Levels:
    """At which level inputs run, which one was asked for, and how long until that takes effect (ms); [N] each."""

    now: Array
    asked: Array
    left_ms: Array

    @classmethod
    def at(cls, level: Array) -> Levels:
        """Return levels that have settled."""
        return cls(level, level, np.zeros(level.shape))

    def asking(self, level: Array, settle_ms: float) -> Levels:
        """Return them with other levels asked for; what was asked before and has not taken effect lapses."""
        left = np.where(level == self.asked, self.left_ms, np.where(level == self.now, 0.0, settle_ms))
        return Levels(np.where(left > 0, self.now, level), level, left)


@dataclass(frozen=True)
class Stretch:
    """What a stretch takes for each input, [N] each: a part before the level asked for takes effect, and the rest."""

    before_ms: Array
    before_mj: Array
    behind_ms: Array
    behind_mj: Array
    after: Levels

    @property
    def time_ms(self) -> Array:
        return self.before_ms + self.behind_ms

    @property
    def energy_mj(self) -> Array:
        return self.before_mj + self.behind_mj


def run_stretch(model: EnergyModel, start: Array | int, end: Array | int, levels: Levels) -> Stretch:
    """Run a stretch, which `time_ms` and `energy_mj` of the model know as [start, end], at levels that may settle."""
    asked = start, end, levels.asked
    if not levels.left_ms.any():
        none = np.zeros(levels.left_ms.shape)
        return Stretch(
            none, none, model.time_ms[asked], model.energy_mj[asked], Levels(levels.asked, levels.asked, none)
        )
    old_ms, old_mj = model.time_ms[start, end, levels.now], model.energy_mj[start, end, levels.now]
    before_ms = np.minimum(levels.left_ms, old_ms)
    share = np.divide(before_ms, old_ms, out=np.zeros(old_ms.shape), where=old_ms > 0)
    rest = 1 - share
    left = levels.left_ms - before_ms
    after = Levels(np.where(left > 0, levels.now, levels.asked), levels.asked, left)
    return Stretch(before_ms, share * old_mj, rest * model.time_ms[asked], rest * model.energy_mj[asked], after)


@dataclass(frozen=True)
class Totals:
    """What inputs took; [N] each."""

    latency_ms: Array  # to the answer
    energy_mj: Array  # waiting until the deadline included
    idle_ms: Array
    transitions: Array


def totals(model: EnergyModel, visited: Array, level: Array, rest: int, deadline_ms: float) -> Totals:
    """Add up paths: `visited` [N, E + 1] marks the exits visited, `level` [N, E + 1] holds that of each stretch's end.

    The device rests at level `rest` when an input arrives and goes back to it after the answer.
    """
    n, exits = visited.shape
    before, now, asked, left = np.zeros(n, dtype=int), np.full(n, rest), np.full(n, rest), np.zeros(n)
    latency, energy, transitions = np.zeros(n), np.zeros(n), np.zeros(n, dtype=int)
    for index in range(exits):
        rows = np.flatnonzero(visited[:, index])
        chosen = level[rows, index]
        changed = chosen != asked[rows]
        levels = Levels(now[rows], asked[rows], left[rows]).asking(chosen, model.settle_ms)
        ran = run_stretch(model, before[rows], index, levels)
        latency[rows] += ran.time_ms + changed * model.transition_ms
        energy[rows] += ran.energy_mj + changed * model.transition_mj
        transitions[rows] += changed
        before[rows], now[rows], asked[rows], left[rows] = index + 1, ran.after.now, chosen, ran.after.left_ms
    back = asked != rest
    energy += back * model.transition_mj
    idle = np.maximum(0.0, deadline_ms - latency - back * model.transition_ms)
    energy += idle * model.idle_mw / 1e3
    return Totals(latency, energy, idle, transitions + back)
