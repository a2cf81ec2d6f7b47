"""Which channels of a network are removed, so that a fraction of its MACs is left.

Which channels belong together follows from the graph alone (`channel_groups`), so does which widths there are; weights
only say which of these are taken, and which channels go. So what a plan finds possible is so whatever the weights.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from functools import cached_property
from math import lcm

import torch

from coc_cli.errors import StageError, did_you_mean
from coc_cli.nets.cost import cost
from coc_cli.nets.names import is_head, layer_at
from coc_cli.nets.network import Network, build
from coc_cli.nets.slicing import SliceIndices
from coc_cli.nets.spec import Spec
from coc_cli.stages.channel_groups import Bundle, Channels, Reduced
from coc_cli.stages.channel_labels import Misfit
from coc_cli.stages.importance import channel_scores, has_score
from coc_cli.stages.pruning_widths import TOLERANCE, Choice, Search, Work, options_of


def backbone_macs(spec: Spec) -> int:
    """Return the MACs of the full path without heads, which pruning counts."""
    return sum(layer.macs for layer in cost(spec).layers if not layer.is_head)


@dataclass(frozen=True)
class LayerRule:
    """What sets a layer apart: whether it may lose channels, and what its width is to be a multiple of."""

    prunable: bool = True
    round_to: int | None = None


@dataclass(frozen=True)
class SelectionSettings:
    """How channels are compared, and which layers may lose some."""

    importance: str = "group_norm"
    scope: str = "global"  # or "layer"
    rules: Mapping[str, LayerRule] = field(default_factory=dict)  # by pattern of layer names; the last match decides
    round_to: int | None = None


Kept = tuple[int, ...]  # how many parts of each bundle
FEW = 2  # reasons in an error
AIMS = 6  # searches for one fraction


class Selection:
    """The widths that a network may be pruned to, by some settings; weights are looked at by `choose` alone."""

    def __init__(self, network: Network, settings: SelectionSettings) -> None:
        """Analyse a network, on any device, that stays as it is; raises `StageError` if nothing can be pruned."""
        self.network, self.settings = network, settings
        try:
            self.channels = Channels(network)
        except Misfit as error:
            raise StageError(f"pruning cannot follow this network: {error}") from error
        self.rules = _rules(network, settings)
        self.choices = self._choices()
        if not any(len(choice.options) > 1 for choice in self.choices):
            why = "each is held by a pattern or tied to the output"
            raise StageError("; ".join([f"no layer of this network can be pruned: {why}", *self.notes(FEW)]))

    def _choices(self) -> list[Choice]:
        choices = []
        for bundle in self.channels.bundles:
            names = [name for group in bundle.groups for name in self._layers[group]]
            scored = all(has_score(self.channels, self.settings.importance, group) for group in bundle.groups)
            if scored and bundle.why_kept is None and all(self.rules[name].prunable for name in names):
                explicit = [self.rules[name].round_to or self.settings.round_to for name in names]
                round_to = lcm(*[number for number in explicit if number]) if any(explicit) else None
                choices.append(Choice(bundle, options_of(self.channels, bundle, round_to)))
        return choices

    @cached_property
    def _layers(self) -> dict[int, list[str]]:
        """By group: the layers whose outputs are in it."""
        layers: dict[int, list[str]] = {}
        for path, labels in self.channels.whole.found.rows.items():
            for group in self.channels.whole.groups_of(labels):
                layers.setdefault(group, []).append(layer_at(path))
        return layers

    @cached_property
    def _widths(self) -> dict[str, int]:
        """The output channels of each layer by path."""
        return {path: len(labels) for path, labels in self.channels.whole.found.rows.items()}

    @cached_property
    def search(self) -> Search:
        return Search(Work(self.channels, [choice.bundle for choice in self.choices]), self.choices)

    def evenly(self, fraction: float) -> Kept:
        """Return how many parts to keep to leave about a fraction of the MACs, the same share of each bundle."""
        return self._settled(self.search.evenly, fraction)

    def _settled(self, search: Callable[[float], list[int]], fraction: float) -> Kept:
        """Search for parts that fit, and again with another aim where more or fewer MACs are left than it took."""
        aim, best, missed = fraction, None, 1.0
        for _ in range(AIMS):
            places = search(aim)
            while not self._all_fit(places):
                places = search(aim)
            kept = tuple(choice.options[at] for choice, at in zip(self.choices, places, strict=True))
            left = self.fraction(kept)
            if best is None or abs(left - fraction) < missed:
                best, missed = kept, abs(left - fraction)
            if missed <= TOLERANCE / 2:
                break
            aim += fraction - left
        assert best is not None
        return best

    def fraction(self, kept: Kept) -> float:
        """Return the fraction of the MACs that is left by parts that fit."""
        return self.reduced(kept).macs / self.channels.macs

    def _all_fit(self, places: Sequence[int]) -> bool:
        """Try the options, all at once and then each bundle's by itself, and take those away that do not fit."""
        kept = tuple(choice.options[at] for choice, at in zip(self.choices, places, strict=True))
        if self.channels.misfit(self._counts(kept)) is None:
            return True
        misfits = [
            (choice, at)
            for choice, at in zip(self.choices, places, strict=True)
            if not self._fits(choice.bundle, choice.options[at])
        ]
        if not misfits:  # each fits by itself, but not together
            raise self._unprunable(self.channels.misfit(self._counts(kept)))
        for choice, at in misfits:
            self._drop(choice, at)
        return False

    def _fits(self, bundle: Bundle, kept: int) -> bool:
        share = self.channels.share(bundle.groups, kept, bundle.parts)
        return bundle.is_free or kept == bundle.parts or self.channels.misfit(self.channels.counts(share)) is None

    def _drop(self, choice: Choice, at: int) -> None:
        """Take an option away that does not fit, and with it all below the first that does if the least does not."""
        if self._fits(choice.bundle, choice.options[0]):
            del choice.options[at]
            return
        low, high = at, len(choice.options) - 1
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (low, middle) if self._fits(choice.bundle, choice.options[middle]) else (middle, high)
        del choice.options[:high]

    def _counts(self, kept: Kept) -> tuple[int, ...]:
        changed: dict[int, int] = {}
        for choice, parts in zip(self.choices, kept, strict=True):
            changed |= self.channels.share(choice.bundle.groups, parts, choice.bundle.parts)
        return self.channels.counts(changed)

    def _places(self, kept: Kept) -> list[int]:
        return [choice.nearest(parts) for choice, parts in zip(self.choices, kept, strict=True)]

    def tolerance(self, kept: Kept) -> float:
        """Return how far the fraction may be off: half a step where widths are rounded by the user, or 2 %."""
        is_rounded = any(rule.round_to or self.settings.round_to for rule in self.rules.values())
        return max(TOLERANCE, self.search.step(self._places(kept)) / 2) if is_rounded else TOLERANCE

    def misses(self, kept: Kept, fraction: float) -> bool:
        """Return whether parts leave a fraction that is too far from the requested one."""
        return abs(self.fraction(kept) - fraction) > self.tolerance(kept)

    def choose(self, fraction: float, *, exactly: bool) -> SliceIndices:
        """Choose the channels to keep by the network's weights; see `choose_channels`."""
        scores = channel_scores(self.channels, self.settings.importance)
        if self.settings.scope == "layer":
            kept = self.evenly(fraction)
        else:
            for choice in self.choices:
                every = torch.cat([scores[group] for group in choice.bundle.groups])
                choice.score = every / every.mean().clamp_min(1e-12)  # so that bundles are comparable
            kept = self._settled(self.search.by_score, fraction)
            if self.misses(kept, fraction):
                kept = self.evenly(fraction)
        if exactly:
            self.check(kept, fraction)
        return self.reduced(kept).choose(scores)

    def reduced(self, kept: Kept) -> Reduced:
        """Return the network with parts that fit."""
        return self.channels.reduced(self._counts(kept))

    def _unprunable(self, misfit: Misfit | None) -> StageError:
        bundles = sorted((choice.bundle for choice in self.choices), key=lambda bundle: bundle.is_free)
        name = self.channels.groups[bundles[0].groups[0]].name
        line = f"keep it with layers: {{'{name}': {{prune: false}}}}"
        return StageError(f"layer '{name}' cannot be pruned: {misfit}; {line}")

    def check(self, kept: Kept, fraction: float) -> None:
        """Raise `StageError` if parts leave a fraction that is too far from the requested one."""
        if self.misses(kept, fraction):
            why = "; ".join(["the other channels are held or too few", *self.notes(FEW)])
            left = self.fraction(kept)
            raise StageError(f"cannot leave {fraction:.1%} of the MACs, the nearest is {left:.1%}: {why}", "ratio")

    def notes(self, most: int = 6) -> list[str]:
        """Return which layers keep their channels though nothing requests it, and why; how many more if too many."""
        kept: dict[str, dict[str, int]] = {}  # by reason: how many channels each layer keeps for it
        bundled = [
            (bundle.why_kept, self.channels.groups[index])
            for bundle in self.channels.bundles
            for index in bundle.groups
        ]
        for why, group in [*((group.why_kept, group) for group in self.channels.groups), *bundled]:
            if why and group.channels > 1 and group.members[0][0] in self._widths and not is_head(group.name):
                counts = kept.setdefault(why, {})
                counts[group.name] = counts.get(group.name, 0) + group.channels
        widths = {layer_at(path): width for path, width in self._widths.items()}
        notes = [f"{_named(counts, widths)}: {why}" for why, counts in kept.items()]
        more = len({name for counts in list(kept.values())[most:] for name in counts})
        return [*notes[:most], *([f"{more} more keep theirs for reasons of the kind"] if more else [])]

    def nearby(self, fraction: float) -> list[float]:
        """Return the fractions that widths allow near the requested one, the nearest among them."""
        kept = self.evenly(fraction)
        around = sorted(self.search.nearby(self._places(kept)), key=lambda left: abs(left - fraction))
        return sorted([self.fraction(kept), *around[:2]])


def choose_channels(
    network: Network, settings: SelectionSettings, fraction: float, *, exactly: bool = True
) -> SliceIndices:
    """Choose the channels to keep so that this fraction of the backbone's MACs is left.

    Args:
        network: On any device but meta, stays as it is.
        settings: How.
        fraction: Of the network's present MACs.
        exactly: Whether it is an error to miss the fraction by more than the tolerance.

    Returns:
        The elements of each tensor that remain.

    Raises:
        StageError: If nothing can be pruned, or the fraction is out of reach.
    """
    return Selection(network, settings).choose(fraction, exactly=exactly)


def can_reach(network: Network, settings: SelectionSettings, fraction: float) -> bool:
    """Return whether a network could be pruned to this fraction of its MACs, whatever its weights."""
    try:
        selection = Selection(network, settings)
    except StageError:
        return False
    return not selection.misses(selection.evenly(fraction), fraction)


_LATEST: list[tuple[Spec, SelectionSettings, Selection]] = []  # a plan asks for the notes and the spec of one stage


def _dry(spec: Spec, settings: SelectionSettings) -> Selection:
    """Return what may be pruned of a network of a spec, whatever its weights; raises `StageError`."""
    for latest, how, selection in _LATEST:
        if latest is spec and how == settings:
            return selection
    selection = Selection(build(spec, device="meta"), settings)
    _LATEST[:] = [(spec, settings, selection)]
    return selection


def sliced_dry(spec: Spec, settings: SelectionSettings, fraction: float) -> Spec:
    """Return the spec that pruning would leave if it took the same share of each group; raises `StageError`.

    This is all that is known without the weights; any weights can be pruned to that fraction.
    """
    selection = _dry(spec, settings)
    kept = selection.evenly(fraction)
    selection.check(kept, fraction)
    modules, parameters = selection.reduced(kept).changes
    return spec.with_changes(modules=modules, parameters=parameters)


def pruning_notes(spec: Spec, settings: SelectionSettings, fraction: float) -> list[str]:
    """Return what a user should know: layers that keep their channels, and what rounded widths allow."""
    try:
        selection = _dry(spec, settings)
    except StageError:
        return []
    notes = selection.notes()
    if any(rule.round_to or settings.round_to for rule in selection.rules.values()):
        nearby = selection.nearby(fraction)
        nearest = min(nearby, key=lambda left: abs(left - fraction))
        shares = ", ".join(f"{left:.1%}" for left in nearby)
        rounded = f"widths are multiples of round_to, so near {fraction:.0%} they leave {shares}"
        notes.append(f"{rounded}; the nearest is taken, {nearest:.1%}")
    return notes


def _named(counts: Mapping[str, int], widths: Mapping[str, int]) -> str:
    """Return which layers keep channels, and how many at least of those that may lose others."""
    few = 3
    parts = {name: f"at least {kept} of its {widths[name]}" for name, kept in counts.items() if kept < widths[name]}
    if len(counts) == 1:
        return "".join(f"layer '{name}' keeps {parts.get(name, 'its')} channels" for name in counts)
    shown = ", ".join(f"'{name}'{f' ({parts[name]})' if name in parts else ''}" for name in list(counts)[:few])
    more = f" and {len(counts) - few} more" if len(counts) > few else ""
    return f"layers {shown}{more} keep {'' if parts else 'their '}channels"


def _rules(network: Network, settings: SelectionSettings) -> dict[str, LayerRule]:
    """Return the rule of each layer: that of the last pattern that matches; raises `StageError` if one never does."""
    names = list(network.layers)
    rules = dict.fromkeys(names, LayerRule())
    for pattern, rule in settings.rules.items():
        matched = [name for name in names if fnmatchcase(name, pattern)]
        if not matched:
            raise StageError(f"pattern '{pattern}' matches no layer; {did_you_mean(pattern, names)}", "layers")
        rules.update(dict.fromkeys(matched, rule))
    return rules
