"""Groups of channels that go together, found by labels; and what remains of a network when some of them go.

A *class* is a set of labels that belong together: all go or all stay. A *group* is the classes with labels of the same
layers, so that any number of them can go as far as layers are concerned; its *kinds* are read at the same places. How
many of a kind stay follows from the widths: a second run on labels, with the new widths, says where each remaining
channel is read, and takes the place of one of the same kind. Groups whose numbers depend on each other, at a chunk or a
shuffle, form a *bundle* and keep the same share.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from math import gcd
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

from coc_cli.nets.layers import numbers_of
from coc_cli.nets.names import is_head, layer_at
from coc_cli.nets.slicing import SliceIndices
from coc_cli.stages.channel_labels import Labelling, Misfit, Widths
from coc_cli.stages.channel_rules import labelled

if TYPE_CHECKING:
    from coc_cli.nets.network import Network

Integers = NDArray[np.int64]


@dataclass(frozen=True)
class ChannelGroup:
    """Classes of labels of the same layers; `name` is the first of these."""

    name: str
    members: tuple[tuple[str, int], ...]  # producers, by path, and how many labels of each a class has
    classes: Integers  # [n], in the order of the first layer's channels
    kinds: Integers  # [n]: equal where they are read at the same places
    why_kept: str | None  # why no channel can go; "" where that needs no saying

    def __len__(self) -> int:
        return len(self.classes)

    @property
    def channels(self) -> int:
        """How many output channels of the first layer it has."""
        return len(self.classes) * self.members[0][1]

    @property
    def key(self) -> tuple[object, ...]:
        return (self.members, self.why_kept is None)


@dataclass(frozen=True)
class Bundle:
    """Groups that keep the same share of their channels: a number of `parts`, in steps."""

    groups: tuple[int, ...]
    parts: int
    step: int
    is_free: bool = False  # any number of channels fits, so no share needs a trial
    why_kept: str | None = None  # why no share but the whole fits


@dataclass
class _Classes:
    """The classes and groups of one run on labels."""

    found: Labelling
    of_label: Integers = field(init=False)  # class by label
    groups: list[ChannelGroup] = field(init=False)

    def __post_init__(self) -> None:
        found, count = self.found, self.found.count
        pairs = torch.cat(found.edges, 1).numpy() if found.edges else np.zeros((2, 0), np.int64)
        joined = coo_matrix((np.ones(pairs.shape[1], bool), (pairs[0], pairs[1])), (count, count))
        self.of_label = connected_components(joined, directed=False)[1].astype(np.int64)
        members, kinds = self._members_and_kinds()
        reasons: dict[int, str] = {}
        for kept, why in found.kept:
            for owner in np.unique(self.of_label[kept.numpy()]).tolist():
                reasons[owner] = reasons.get(owner) or why
        parted: dict[tuple[tuple[tuple[str, int], ...], bool], list[int]] = {}
        owners, first = np.unique(self.of_label[1:], return_index=True)  # label 0 stands for no channel
        for owner in owners[np.argsort(first, kind="stable")].tolist():
            parted.setdefault((tuple(members[owner]), owner in reasons), []).append(owner)
        self.groups = []
        for (tied, is_kept), inside in parted.items():
            why_kept = next((reasons[owner] for owner in inside if reasons[owner]), "") if is_kept else None
            classes = np.array(inside, np.int64)
            self.groups.append(ChannelGroup(layer_at(tied[0][0]), tied, classes, kinds[classes], why_kept))

    def _members_and_kinds(self) -> tuple[list[list[tuple[str, int]]], Integers]:
        """Return by class its producers, with the number of labels of each, and a hash of where these are read."""
        found, of = self.found, self.of_label
        read_at = np.zeros(found.count, np.int64)
        for read, place in found.events:
            np.add.at(read_at, read.numpy(), np.int64(place))
        total = int(of.max()) + 1
        members: list[list[tuple[str, int]]] = [[] for _ in range(total)]
        kinds = np.zeros(total, np.int64)
        producers = sorted(found.producers, key=lambda name: name in found.parameters)  # layers first
        for index, name in enumerate(producers):
            labels = np.arange(found.producers[name].start, found.producers[name].stop)
            # of one layer a class may have several channels: the first, the second, ... are told apart
            key = read_at[labels] + occurrence(of[labels]) * _odd(2 * index)
            np.add.at(kinds, of[labels], (key ^ (key >> 31)) * _odd(2 * index + 1))
            classes, counts = np.unique(of[labels], return_counts=True)
            for owner, number in zip(classes.tolist(), counts.tolist(), strict=True):
                members[owner].append((name, number))
        return members, kinds

    @cached_property
    def group_of(self) -> Integers:
        """Group by class; -1 for that of label 0."""
        of = np.full(int(self.of_label.max()) + 1, -1, np.int64)
        for index, group in enumerate(self.groups):
            of[group.classes] = index
        return of

    def groups_of(self, labels: torch.Tensor) -> list[int]:
        """Return the groups that labels are in."""
        return [index for index in np.unique(self.group_of[self.of_label[labels.numpy()]]).tolist() if index >= 0]


def _odd(index: int) -> Integers:
    """Return an odd number of 63 bits, another one for each index, to multiply hashes by: [1]."""
    return np.array([(0x9E3779B97F4A7C15 * (2 * index + 1)) % (1 << 63) | 1], np.int64)


def occurrence(values: Integers) -> Integers:
    """Return for each value how many equal ones stand before it."""
    order = np.argsort(values, kind="stable")
    ordered = values[order]
    starts = np.r_[True, ordered[1:] != ordered[:-1]] if len(values) else np.zeros(0, bool)
    first = np.maximum.accumulate(np.where(starts, np.arange(len(values)), 0)) if len(values) else order
    ranks = np.empty_like(order)
    ranks[order] = np.arange(len(values)) - first
    return ranks


def positions_of(wanted: Integers, present: Integers) -> Integers:
    """Return where each wanted label stands among those present, the n-th of equal ones at the n-th."""
    scale = np.int64(max(len(wanted), len(present)) + 1)
    keys, there = wanted * scale + occurrence(wanted), present * scale + occurrence(present)
    order = np.argsort(there, kind="stable")
    at = order[np.minimum(np.searchsorted(there[order], keys), len(there) - 1)]
    assert (there[at] == keys).all(), "a channel is read where it was not read before"
    return at


class Channels:
    """The channels of a network: which belong together, and how many may stay. All of it follows from the graph."""

    def __init__(self, network: Network) -> None:
        self.network = network
        self.whole = _Classes(labelled(network))
        self.groups = self.whole.groups
        self._fits: dict[tuple[int, ...], Misfit | None] = {}
        self._latest: Reduced | None = None

    @cached_property
    def macs(self) -> int:
        """MACs of the network without heads."""
        return macs_of(self.network, self.whole.found)

    def counts(self, changed: Mapping[int, int]) -> tuple[int, ...]:
        """Return the classes of each group: all, but for those that are given."""
        return tuple(changed.get(index, len(group)) for index, group in enumerate(self.groups))

    def misfit(self, counts: tuple[int, ...]) -> Misfit | None:
        """Return why a network with so many classes of each group cannot run as this one does; None if it can."""
        if counts not in self._fits:
            try:
                self._latest = Reduced(self, counts)
                self._fits[counts] = None
            except Misfit as error:
                self._fits[counts] = error
        return self._fits[counts]

    def reduced(self, counts: tuple[int, ...]) -> Reduced:
        """Return the network with so many classes of each group; raises `Misfit`."""
        misfit = self.misfit(counts)
        if misfit is not None:
            raise misfit
        if self._latest is None or self._latest.counts != counts:
            self._latest = Reduced(self, counts)
        return self._latest

    @cached_property
    def bundles(self) -> list[Bundle]:
        """The groups that may lose channels, those together whose numbers depend on each other."""
        free = {index for index, group in enumerate(self.groups) if group.why_kept is None and len(group) > 1}
        free -= {index for index in free if self.groups[index].members[0][0] not in self.whole.found.rows}
        partner = {index: index for index in free}

        def root(index: int) -> int:
            while partner[index] != index:
                index = partner[index]
            return index

        regrouped = set()
        for labels, _ in self.whole.found.regrouped:
            met = [index for index in self.whole.groups_of(labels) if index in free]
            regrouped |= set(met)
            for index in met:
                partner[root(index)] = root(met[0])
        together: dict[int, list[int]] = {}
        for index in sorted(free):
            together.setdefault(root(index), []).append(index)
        numbered = {index for labels, _ in self.whole.found.numbered for index in self.whole.groups_of(labels)}
        one_less = {index: len(self.groups[index]) - 1 for index in free & numbered - regrouped}
        all_fit = not one_less or self.misfit(self.counts(one_less)) is None
        sure = numbered - regrouped if all_fit else set()
        plain = [
            members for members in together.values() if members[0] in sure or members[0] not in numbered | regrouped
        ]
        tried = [members for members in together.values() if members not in plain]
        bundles = [Bundle(tuple(members), len(self.groups[members[0]]), step=1, is_free=True) for members in plain]
        return sorted([*bundles, *self._stepped(tried)], key=lambda bundle: bundle.groups)

    def _stepped(self, bundles: Sequence[Sequence[int]]) -> list[Bundle]:
        """Return bundles of these groups with the smallest steps that fit; the first of each are tried all at once."""
        parts = [gcd(*[len(self.groups[index]) for index in members]) for members in bundles]
        steps = [list(self._possible_steps(members, size)) for members, size in zip(bundles, parts, strict=True)]
        first: dict[int, int] = {}
        for members, size, possible in zip(bundles, parts, steps, strict=True):
            first |= self.share(members, size - possible[0], size) if possible else {}
        if first and self.misfit(self.counts(first)) is None:
            found = [possible[0] if possible else None for possible in steps]
        else:
            found = [self._first_fit(*each) for each in zip(bundles, parts, steps, strict=True)]
        return [
            Bundle(tuple(members), size, step or size, why_kept=None if step else self._needs(members))
            for members, size, step in zip(bundles, parts, found, strict=True)
        ]

    def _first_fit(self, members: Sequence[int], parts: int, steps: Sequence[int]) -> int | None:
        fits = (step for step in steps if self.misfit(self.counts(self.share(members, parts - step, parts))) is None)
        return next(fits, None)

    def _possible_steps(self, members: Sequence[int], parts: int) -> Iterator[int]:
        """Yield steps, from small to great, that leave as many channels in each group of norms and convolutions."""
        divided = []
        for labels, groups in self.whole.found.divided:
            owners = self.whole.group_of[self.whole.of_label[labels.numpy()]]
            divided.append((int(np.isin(owners, list(members)).sum()), groups))
        for step in sorted({1, 2, 4, 8, *(size for size in range(1, parts) if parts % size == 0)}):
            gone = [(count * step // parts, groups) for count, groups in divided]
            if step < parts and all(count % groups == 0 for count, groups in gone):
                yield step

    def _needs(self, members: Sequence[int]) -> str:
        sizes = [str(self.groups[index].channels) for index in members]
        return f"{self.fault(members)} needs {'all ' if len(members) == 1 else ''}{' and '.join(dict.fromkeys(sizes))}"

    def fault(self, groups: Iterable[int]) -> str | None:
        """Return the first operation whose numbers depend on those of groups, or None."""
        found, wanted = self.whole.found, set(groups)
        for labels, place in (*found.regrouped, *found.numbered):
            if wanted & set(self.whole.groups_of(labels)):
                return place
        return None

    def share(self, members: Iterable[int], kept: int, parts: int) -> dict[int, int]:
        """Return the classes of groups of which a share is kept."""
        return {index: len(self.groups[index]) * kept // parts for index in members}


class Reduced:
    """A network of which so many classes of each group stay, and where each of them is read."""

    def __init__(self, channels: Channels, counts: tuple[int, ...]) -> None:
        self.before, self.counts = channels, counts
        self.after = _Classes(labelled(channels.network, self._widths()))
        there = {group.key: group for group in self.after.groups}
        for index, (group, count) in enumerate(zip(channels.groups, counts, strict=True)):
            other = there.get(group.key)
            if other is None or len(other) != count:
                raise Misfit(self._suspect(index), "ties other channels")
            wanted, number = np.unique(other.kinds, return_counts=True)
            at = {kind: int((group.kinds == kind).sum()) for kind in wanted.tolist()}
            if any(at[kind] < n for kind, n in zip(wanted.tolist(), number.tolist(), strict=True)):
                raise Misfit(self._suspect(index), "parts channels in another way")
        self.there = [there[group.key] for group in channels.groups]
        for path, columns in channels.whole.found.columns.items():
            if (columns == 0).sum() != (self.after.found.columns[path] == 0).sum():
                raise Misfit(f"layer '{layer_at(path)}'", "reads more or less of what is no channel's")

    def _suspect(self, index: int) -> str:
        return self.before.fault([index]) or f"layer '{self.before.groups[index].name}'"

    def _widths(self) -> Widths:
        channels, found = self.before, self.before.whole.found
        rows: dict[str, int] = dict.fromkeys(found.producers, 0)
        for group, count in zip(channels.groups, self.counts, strict=True):
            for producer, number in group.members:
                rows[producer] += number * count
        return Widths(rows, {name: self._shape(labels) for name, labels in found.parameters.items()})

    def _shape(self, labels: torch.Tensor) -> tuple[int, ...]:
        """Return the shape that a bare parameter has left."""
        shape = []
        for dim, size in enumerate(labels.shape):
            line = labels[(0,) * dim + (slice(None),) + (0,) * (labels.dim() - dim - 1)]
            owners = self.before.whole.of_label[line.numpy()]
            if len(set(owners.tolist())) > 1:
                groups = self.before.whole.group_of[owners]
                left = sum((groups == g).sum() * self.counts[g] / len(self.before.groups[g]) for g in np.unique(groups))
                size = round(float(left))  # noqa: PLW2901
            shape.append(size)
        return tuple(shape)

    @cached_property
    def macs(self) -> int:
        """MACs of what remains, without heads."""
        return macs_of(self.before.network, self.after.found)

    @property
    def changes(self) -> tuple[dict[str, dict[str, int]], dict[str, tuple[int, ...]]]:
        """A spec's `modules` and `parameters` of the network that remains."""
        network, old, new = self.before.network, self.before.whole.found, self.after.found
        modules = dict(network.spec.modules)
        for path, columns in new.columns.items():
            before = numbers_of(network.get_submodule(path)) or {}
            wide = len(columns)
            sizes = {"in": wide, "features": wide, "out": len(new.rows[path]) if path in new.rows else 0}
            sizes["groups"] = wide if before.get("groups") == before.get("in") else before.get("groups", 1)
            after = {key: sizes[key] for key in before}
            if after != before:
                modules[layer_at(path)] = after
        shapes = {name: tuple(labels.shape) for name, labels in new.parameters.items()}
        changed = {
            layer_at(name): shape for name, shape in shapes.items() if shape != tuple(old.parameters[name].shape)
        }
        order = {layer_at(path): index for index, (path, _) in enumerate(network.named_modules())}
        ordered = dict(sorted(modules.items(), key=lambda item: order[item[0]]))
        return ordered, {**network.spec.parameters, **changed}

    def choose(self, scores: Mapping[int, torch.Tensor]) -> SliceIndices:
        """Choose of each kind those of the greatest scores.

        Args:
            scores: By group, [classes]; a group without keeps its first ones of each kind.

        Returns:
            The elements of each tensor of the network that remain.
        """
        origin = np.zeros(self.after.found.count, np.int64)  # by new label: the label that takes its place
        for index, (group, there) in enumerate(zip(self.before.groups, self.there, strict=True)):
            score = scores[index].cpu().double().numpy() if index in scores else np.zeros(len(group))
            chosen = np.empty(len(there), np.int64)
            for kind in np.unique(there.kinds):
                at = np.flatnonzero(group.kinds == kind)
                wanted = np.flatnonzero(there.kinds == kind)
                best = at[np.argsort(-score[at], kind="stable")[: len(wanted)]]
                chosen[wanted] = np.sort(best)
            self._place(group, there, chosen, origin)
        kept = _indices(self.before.network, self.before.whole.found, self.after.found, origin)
        return SliceIndices(kept, *self.changes)

    def _place(self, group: ChannelGroup, there: ChannelGroup, chosen: Integers, origin: Integers) -> None:
        before, after = self.before.whole, self.after
        for producer, number in group.members:
            old, new = (_labels_of(run, producer, part, number) for run, part in ((before, group), (after, there)))
            origin[new] = old[chosen]


def macs_of(network: Network, found: Labelling) -> int:
    """Return the MACs of a network without heads, of the widths of a run on labels."""
    macs = found.product_macs
    for path, rows in found.rows.items():
        layer: Any = network.get_submodule(path)
        groups = getattr(layer, "groups", 1)
        columns = 1 if 1 < groups == layer.in_channels else len(found.columns[path]) // groups
        if not is_head(layer_at(path)):
            macs += found.positions[path] * len(rows) * columns * layer.weight[0, 0].numel()
    return macs


def _labels_of(run: _Classes, producer: str, group: ChannelGroup, number: int) -> Integers:
    """Return the labels of a producer in each class of a group, [classes, number]."""
    labels = np.arange(run.found.producers[producer].start, run.found.producers[producer].stop)
    place = np.full(int(run.of_label.max()) + 1, -1, np.int64)
    place[group.classes] = np.arange(len(group))
    at = place[run.of_label[labels]]
    labels, at = labels[at >= 0], at[at >= 0]
    return labels[np.argsort(at, kind="stable")].reshape(len(group), number)


def _indices(network: Network, old: Labelling, new: Labelling, origin: Integers) -> dict[str, torch.Tensor]:
    """Return the flat indices of what remains: each new label stands for the old one at its origin."""
    kept: dict[str, torch.Tensor] = {}

    def taken(wanted: torch.Tensor, present: torch.Tensor) -> torch.Tensor:
        at = positions_of(origin[wanted.flatten().numpy()], present.flatten().numpy())
        return torch.from_numpy(at).view(wanted.shape)

    for path, columns in old.columns.items():
        module: Any = network.get_submodule(path)
        read = taken(new.columns[path], columns)
        if path not in old.rows:
            tensors = {**module._parameters, **module._buffers}  # noqa: SLF001
            kept |= {f"{path}.{name}": read for name, tensor in tensors.items() if tensor is not None and tensor.dim()}
        else:
            rows = taken(new.rows[path], old.rows[path])
            kept |= {f"{path}.weight": _weight(module, rows, read), f"{path}.bias": rows}
    kept |= {name: taken(new.parameters[name], labels) for name, labels in old.parameters.items()}
    present = set(network.state_dict())
    return {name: index for name, index in kept.items() if name in present}


def _weight(module: Any, rows: torch.Tensor, columns: torch.Tensor) -> torch.Tensor:
    """Return the flat indices of the elements of a weight in these rows and columns."""
    shape = module.weight.shape
    flat = torch.arange(module.weight.numel()).view(shape)
    groups = getattr(module, "groups", 1)  # those of a weight lie one behind the other along its first dimension
    first, second = (columns, rows) if getattr(module, "transposed", False) else (rows, columns)
    if 1 < groups == module.in_channels:
        return flat[first]
    parts = zip(first.chunk(groups), (second % shape[1]).chunk(groups), strict=True)
    return torch.cat([flat[one][:, other] for one, other in parts])
