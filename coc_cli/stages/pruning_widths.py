"""How many channels of each bundle to keep, so that a fraction of a network's MACs is left."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from torch import Tensor

    from coc_cli.stages.channel_groups import Bundle, Channels

    Floats = NDArray[np.float64]

TOLERANCE = 0.02  # of the incoming network's MACs: how near to the target every pruning comes
ROUND_TO, ROUNDED_FROM = 8, 64  # without `round_to`, channels are kept in multiples of 8 in groups of 64 or more
MIN_KEPT_FRACTION = 0.1  # of a group's channels
ENOUGH = TOLERANCE / 20  # nearer than that no step is tried


@dataclass
class Choice:
    """A bundle, and how many of its parts may be kept, from few to all."""

    bundle: Bundle
    options: list[int]
    score: Tensor | None = field(default=None, repr=False)  # [classes of all its groups], relative to their mean

    def nearest(self, parts: float) -> int:
        """Return the place of the option nearest to a number of parts."""
        return min(range(len(self.options)), key=lambda at: (abs(self.options[at] - parts), -at))


def options_of(channels: Channels, bundle: Bundle, round_to: int | None) -> list[int]:
    """Return how many of a bundle's parts may be kept: in its steps, with widths that are multiples of `round_to`.

    Args:
        channels: Of the network.
        bundle: Of these channels.
        round_to: None: of 8, in groups of 64 channels or more, where the bundle's steps allow it.
    """
    groups = [channels.groups[index] for index in bundle.groups]
    lowest = max(1, round(MIN_KEPT_FRACTION * bundle.parts))
    steps = [kept for kept in range(bundle.parts, 0, -bundle.step) if kept >= lowest]
    units = [round_to or (ROUND_TO if group.channels >= ROUNDED_FROM else 1) for group in groups]
    rounded = [
        kept
        for kept in steps
        if kept == bundle.parts
        or all(group.channels * kept // bundle.parts % unit == 0 for group, unit in zip(groups, units, strict=True))
    ]
    return sorted(steps if len(rounded) < 2 and not round_to else rounded)  # noqa: PLR2004


class Work:
    """The MACs of a network as a function of which share of each bundle is left."""

    def __init__(self, channels: Channels, bundles: Sequence[Bundle]) -> None:
        import numpy as np

        from coc_cli.nets.names import is_head, layer_at

        found, whole = channels.whole.found, channels.whole
        bundle_of = np.full(len(channels.groups) + 1, len(bundles))
        for index, bundle in enumerate(bundles):
            bundle_of[list(bundle.groups)] = index
        paths = [path for path in found.rows if not is_head(layer_at(path))]

        def parts(labels: Tensor) -> Floats:
            at = bundle_of[whole.group_of[whole.of_label[labels.numpy()]]]
            return np.bincount(at, minlength=len(bundles) + 1)[:-1] / len(labels)

        self.outs = np.array([parts(found.rows[path]) for path in paths])
        self.ins = np.array([parts(found.columns[path]) for path in paths])
        macs = []
        for row, path in enumerate(paths):
            layer: Any = channels.network.get_submodule(path)
            groups = getattr(layer, "groups", 1)
            macs.append(found.positions[path] * layer.weight.numel())
            if 1 < groups == getattr(layer, "in_channels", 0):
                self.ins[row] = 0  # depthwise: its channels count once, as outputs
        self.macs, self.others = np.array(macs, np.float64), found.product_macs

    def fraction(self, shares: Floats) -> Any:
        """Return the fraction of the MACs that is left, for shares [..., bundles]."""
        gone = 1 - shares
        left = (1 - gone @ self.outs.T) * (1 - gone @ self.ins.T)
        return (left @ self.macs + self.others) / (self.macs.sum() + self.others)


class Search:
    """Finds the numbers of parts to keep; nothing here depends on anything but the choices and their scores."""

    def __init__(self, work: Work, choices: Sequence[Choice]) -> None:
        import numpy as np

        self.work, self.choices = work, choices
        self.parts = np.array([choice.bundle.parts for choice in choices], np.float64)

    def fraction(self, places: Sequence[int]) -> float:
        """Return the fraction of the MACs that is left by the options at these places."""
        return float(self.work.fraction(self._shares([places]))[0])

    def _shares(self, many: Sequence[Sequence[int]]) -> Floats:
        import numpy as np

        kept = [[choice.options[at] for choice, at in zip(self.choices, places, strict=True)] for places in many]
        return np.array(kept, np.float64) / self.parts

    def evenly(self, target: float) -> list[int]:
        """Return the places of options that keep about the same share of each bundle."""
        return self._at_level(target, [index / 1000 for index in range(1001)], lambda _, level: 1 - level)

    def by_score(self, target: float) -> list[int]:
        """Return the places of options that keep what has a score above one level, the same for all bundles."""
        import torch

        scores = [choice.score for choice in self.choices if choice.score is not None]
        levels = [0.0, *torch.cat(scores).unique().tolist()]

        def share(choice: Choice, level: float) -> float:
            assert choice.score is not None
            return float((choice.score > level).float().mean())

        return self._at_level(target, levels, share)

    def _at_level(self, target: float, levels: list[float], share: Callable[[Choice, float], float]) -> list[int]:
        def at(level: float) -> list[int]:
            return [choice.nearest(choice.bundle.parts * share(choice, level)) for choice in self.choices]

        # The fraction falls as the level rises, so bisection finds the first level at or below the target. Rounding to
        # multiples makes it fall in jumps: at a target of 50 % two levels in a row may leave 53 % and 46 %. The nearer
        # one is then improved bundle by bundle.
        low, high = 0, len(levels) - 1
        while low < high:
            middle = (low + high) // 2
            if self.fraction(at(levels[middle])) <= target:
                high = middle
            else:
                low = middle + 1
        around = [at(levels[index]) for index in (low - 1, low) if index >= 0]
        best = min(around, key=lambda places: abs(self.fraction(places) - target))
        return self._nearer(best, target)

    def _nearer(self, places: list[int], target: float) -> list[int]:
        """Take single steps, or two at once where one does not help, while that brings the fraction nearer."""
        distance = abs(self.fraction(places) - target)
        while distance >= ENOUGH:
            single = self._neighbours(places)
            best, reached = self._best([places, *single], target)
            if reached >= distance > TOLERANCE:
                best, reached = self._best([two for one in single for two in self._neighbours(one)] or [places], target)
            if reached >= distance:
                break
            places, distance = best, reached
        return places

    def _best(self, many: list[list[int]], target: float) -> tuple[list[int], float]:
        distances = abs(self.work.fraction(self._shares(many)) - target)
        best = int(distances.argmin())
        return many[best], float(distances[best])

    def _neighbours(self, places: Sequence[int]) -> list[list[int]]:
        return [
            [*places[:index], at, *places[index + 1 :]]
            for index, choice in enumerate(self.choices)
            for at in (places[index] - 1, places[index] + 1)
            if 0 <= at < len(choice.options)
        ]

    def step(self, places: Sequence[int]) -> float:
        """Return by how much the fraction changes at most when one bundle takes one step."""
        here = self.fraction(places)
        return max((abs(self.fraction(other) - here) for other in self._neighbours(places)), default=0.0)

    def nearby(self, places: Sequence[int]) -> list[float]:
        """Return the fractions that are left one step away."""
        return [self.fraction(other) for other in self._neighbours(places)]
