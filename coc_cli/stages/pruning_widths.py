"""How many channels of each group to keep, so that a fraction of a network's MACs is left."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor

    from coc_cli.nets.network import Network

TOLERANCE = 0.02  # of the incoming network's MACs: how near to the target every pruning comes
ROUND_TO, ROUNDED_FROM = 8, 64  # channels are kept in multiples of 8 in groups of 64 or more
MIN_KEPT_FRACTION = 0.1  # of a group's channels


@dataclass
class Group:
    """Channels that belong together: removing channel i removes it from all layers in `outs` and, in part, `ins`."""

    name: str  # the layer whose output channels they are
    importance: Tensor  # [channels]
    outs: dict[str, int]  # by layer: output channels, as many as the group's
    ins: dict[str, int]  # by layer: input channels that come from the group, a multiple of the group's
    remove: Callable[[list[int]], None]


class _Work:
    """The MACs of a network as a function of how many channels of each group are left."""

    def __init__(self, network: Network, groups: list[Group]) -> None:
        from coc_cli.nets.cost import cost

        self.groups = groups
        self.macs = {layer.name: layer.macs for layer in cost(network.spec).layers if not layer.is_head}
        self.total = sum(self.macs.values())
        self.outs: dict[str, list[int]] = {}
        self.ins: dict[str, list[tuple[int, float]]] = {}
        for index, group in enumerate(groups):
            for name in group.outs:
                self.outs.setdefault(name, []).append(index)
            for name, count in group.ins.items():
                layer: Any = network.layer(name)
                if name in group.outs and getattr(layer, "groups", 1) > 1:
                    continue  # depthwise: its channels count once, as outputs
                width = getattr(layer, "in_channels", None) or layer.in_features
                self.ins.setdefault(name, []).append((index, count / width))

    def fraction(self, counts: list[int]) -> float:
        """Return the fraction of the MACs that is left."""
        remaining = [count / len(group.importance) for count, group in zip(counts, self.groups, strict=True)]
        macs_left = 0.0
        for name, macs in self.macs.items():
            inputs = 1 - sum(part * (1 - remaining[index]) for index, part in self.ins.get(name, ()))
            outputs = remaining[self.outs[name][0]] if name in self.outs else 1.0
            macs_left += macs * inputs * outputs
        return macs_left / self.total


def _rounded(count: float, channels: int) -> int:
    lowest = max(1, round(MIN_KEPT_FRACTION * channels))
    if channels >= ROUNDED_FROM:
        return min(channels, max(ROUND_TO, round(count / ROUND_TO) * ROUND_TO))
    return min(channels, max(lowest, round(count)))


def counts_for(network: Network, groups: list[Group], fraction: float, scope: str) -> list[int]:
    """Return how many channels of each group to keep so that `fraction` of the MACs is left."""
    import torch

    work = _Work(network, groups)
    sizes = [len(group.importance) for group in groups]
    if scope == "layer":
        levels = torch.linspace(0, 1, 1001).tolist()

        def counts_at(level: float) -> list[int]:
            return [_rounded(size * (1 - level), size) for size in sizes]

    else:
        # Relative to the group's mean, so that groups are comparable
        scores = [group.importance / group.importance.mean().clamp_min(1e-12) for group in groups]
        levels = [0.0, *torch.cat(scores).unique().tolist()]

        def counts_at(level: float) -> list[int]:
            return [_rounded(int((score > level).sum()), size) for score, size in zip(scores, sizes, strict=True)]

    # The fraction falls as the level rises, so bisection finds the first level at or below the target. Rounding to
    # multiples of 8 makes it fall in jumps: at a target of 50 % two levels in a row may leave 53 % and 46 %. The nearer
    # one is then improved group by group.
    low, high = 0, len(levels) - 1
    while low < high:
        middle = (low + high) // 2
        if work.fraction(counts_at(levels[middle])) <= fraction:
            high = middle
        else:
            low = middle + 1
    around = [counts_at(levels[index]) for index in (low - 1, low) if index >= 0]
    best = min(around, key=lambda counts: abs(work.fraction(counts) - fraction))
    return _nearer(work, best, sizes, fraction)


def _nearer(work: _Work, counts: list[int], sizes: list[int], fraction: float) -> list[int]:
    """Add or remove single steps of channels while that brings the fraction nearer to the target."""
    counts = list(counts)
    while True:
        distance = abs(work.fraction(counts) - fraction)
        if distance < TOLERANCE / 20:
            return counts
        steps = [ROUND_TO if size >= ROUNDED_FROM else 1 for size in sizes]
        candidates = [
            [*counts[:index], count, *counts[index + 1 :]]
            for index, (size, step) in enumerate(zip(sizes, steps, strict=True))
            for count in (counts[index] - step, counts[index] + step)
            if _rounded(0, size) <= count <= size
        ]
        best = min(candidates, key=lambda candidate: abs(work.fraction(candidate) - fraction), default=counts)
        if abs(work.fraction(best) - fraction) >= distance:
            return counts
        counts = best
