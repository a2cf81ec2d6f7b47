"""Names of weights from elsewhere: prefixes that wrappers add, and a renaming that makes names fit. No torch here."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from itertools import permutations, product
from typing import TypeAlias

Shapes: TypeAlias = Mapping[str, tuple[int, ...]]
Rules: TypeAlias = Mapping[str, str | None]  # regular expressions for full names, and what they become; None drops them
Passes: TypeAlias = tuple[Rules, ...]

# What torch's parallel wrappers and torch.compile, and Lightning and scripts with a module around the model, add.
PREFIXES = ("module.", "_orig_mod.", "model.", "net.", "network.")
COMPILED = "_orig_mod."  # torch.compile also adds it to a part of a network, inside a name
COUNTERS = (
    "num_batches_tracked",
    "n_averaged",
    "total_ops",
    "total_params",
)  # no weights: of norms, averages, profilers
DEEPEST_PREFIX = 4  # components that a suggestion takes off or adds
MOST_RENAMED = 3  # components, where neither order nor place tells which became which
MOST_MODULES = 12  # rules, where each module has one of its own
MOST_DROPPED = 3  # groups of names that nothing needs


def is_counter(name: str) -> bool:
    """Return whether a name is of a number that some tool counts, not of a weight."""
    return name.rpartition(".")[2] in COUNTERS


def unwrapped(names: Iterable[str], own: Iterable[str]) -> dict[str, str]:
    """Return the name of each name without the wrappers' prefixes, if more of an architecture's own fit then."""
    best = now = {name: name for name in names}
    wanted = set(own)
    while prefix := _wrapper(now.values()):
        now = {name: new.removeprefix(prefix) for name, new in now.items()}
        best = max(best, now, key=lambda new: _fitting(new, wanted))
    bare = {name: re.sub(rf"(^|\.){re.escape(COMPILED)}", r"\1", new) for name, new in best.items()}
    return max(best, bare, key=lambda new: _fitting(new, wanted))


def _wrapper(names: Iterable[str]) -> str | None:
    """Return the prefix of wrappers that all names have, but for counters."""
    weights = [name for name in names if not is_counter(name)]
    return next((prefix for prefix in PREFIXES if weights and all(n.startswith(prefix) for n in weights)), None)


def _fitting(new: Mapping[str, str], wanted: set[str]) -> int:
    return len(wanted.intersection(new.values()))


def without_counters(names: Iterable[str], own: Iterable[str]) -> list[str]:
    """Return the names without counters that an architecture does not have."""
    wanted = set(own)
    return [name for name in names if name in wanted or not is_counter(name)]


def applied(name: str, rules: Rules) -> str | None:
    """Return what a name becomes by the first rule that matches all of it; None if it is dropped."""
    for pattern, replacement in rules.items():
        if match := re.fullmatch(pattern, name):
            return match.expand(replacement) if replacement else None
    return name


# Suggestions


def suggestion(stored: Shapes, own: Shapes) -> str | None:
    """Return a value of `keys`, as a recipe has it, with which all names and shapes fit; None if none is found."""
    found = next((passes for passes in _guesses(stored, own) if _is_right(passes, stored, own)), None)
    if not found:
        return None
    texts = [f"{{{', '.join(f'{_scalar(old)}: {_scalar(new)}' for old, new in rules.items())}}}" for rules in found]
    return texts[0] if len(texts) == 1 else f"[{', '.join(texts)}]"


def _scalar(text: str | None) -> str:
    quoted = (text or "").replace("'", "''")
    return f"'{quoted}'" if text else "null"


def _is_right(passes: Passes, stored: Shapes, own: Shapes) -> bool:
    """Return whether passes make everything fit; each of their rules has to decide something."""
    used: set[tuple[int, str]] = set()
    weights: dict[str, str] = {}  # the stored name by the new one
    for name in stored:
        new: str | None = name
        for index, rules in enumerate(passes):
            if new:
                used.add((index, next((rule for rule in rules if re.fullmatch(rule, new)), "")))
                new = applied(new, rules)
        if new and not (is_counter(new) and new not in own):
            if new in weights or own.get(new) != stored[name]:
                return False
            weights[new] = name
    is_used = all((index, rule) in used for index, rules in enumerate(passes) for rule in rules)
    return is_used and all(name in weights or name.endswith(COUNTERS[0]) for name in own)


def _guesses(stored: Shapes, own: Shapes) -> Iterator[Passes]:
    """Yield what may be the renaming, the shortest first: prefixes, renamed components, then a rule for each module."""
    theirs, ours = ([name for name in names if not is_counter(name)] for names in (stored, own))
    ways = sorted(product(_prefixes(theirs), _prefixes(ours)), key=lambda way: (way[0] + way[1]).count("."))
    for off, on in ways:
        moved = {name: on + name.removeprefix(off) for name in theirs}
        for drops in _drops(moved.values(), ours):
            kept = {name: new for name, new in moved.items() if applied(new, drops)}
            is_aligned = [stored[name] for name in kept] == [own[name] for name in ours]
            first = {**drops, **_prefix_rules(off, on)}
            yield (first,) if first else ()
            pairs = list(zip(kept.values(), ours, strict=True)) if is_aligned else None
            for renaming in _renamings(list(kept.values()), ours, pairs):
                rules = _component_rules(renaming, kept.values())
                yield ({**first, **rules},)
                yield ({**rules, **first},)
                yield tuple(filter(None, (first, *({old: new} for old, new in rules.items()))))
    if [stored[name] for name in theirs] == [own[name] for name in ours]:
        yield from _module_rules(list(zip(theirs, ours, strict=True)))


def _drops(names: Iterable[str], ours: list[str]) -> Iterator[Rules]:
    """Yield no rules, then those that drop the few groups that stand beside the architecture."""
    yield {}
    tops = {name.partition(".")[0] for name in ours}
    groups = dict.fromkeys(top for name in names if (top := name.partition(".")[0]) not in tops)
    if 0 < len(groups) <= MOST_DROPPED:
        yield dict.fromkeys(rf"{re.escape(group)}(\..*)?" for group in groups)


def _prefixes(names: list[str]) -> list[str]:
    """Return '' and the beginnings, component by component, that the first or most of the names have in common."""
    heads = [name.split(".")[:-1] for name in names]
    counts = Counter(".".join(head[:n]) + "." for head in heads for n in range(1, 1 + DEEPEST_PREFIX) if len(head) >= n)
    return ["", *(prefix for prefix, count in counts.most_common() if 2 * count > len(names))]


def _prefix_rules(off: str, on: str) -> dict[str, str | None]:
    if not off and not on:
        return {}
    return {rf"{re.escape(off)}(.*)": rf"{on}\1"}


def _renamings(theirs: list[str], ours: list[str], pairs: list[tuple[str, str]] | None) -> Iterator[dict[str, str]]:
    """Yield which component becomes which, by the order of names or by what is on one side only."""
    if pairs is not None and (by_order := _by_order(pairs)):
        yield by_order
    parts, own_parts = ({part: None for name in names for part in name.split(".")} for names in (theirs, ours))
    old, new = [part for part in parts if part not in own_parts], [part for part in own_parts if part not in parts]
    if len(old) == len(new) and 0 < len(old) <= MOST_RENAMED:
        yield from (dict(zip(old, order, strict=True)) for order in permutations(new))
    elif len(old) == 1:  # it may become one that stands elsewhere as well
        known = set(theirs)
        missing = dict.fromkeys(part for name in ours if name not in known for part in name.split("."))
        yield from ({old[0]: part} for part in missing)


def _by_order(pairs: list[tuple[str, str]]) -> dict[str, str] | None:
    """Return which component becomes which if names of one order tell it without contradiction."""
    found: dict[str, str] = {}
    leaves = {new.rpartition(".")[2] for _, new in pairs}
    for old, new in pairs:
        one, other = old.split("."), new.split(".")
        if len(one) != len(other) or (one[-1] != other[-1] and one[-1] in leaves):
            return None  # a weight does not become a bias
        if any(found.setdefault(a, b) != b for a, b in zip(one, other, strict=True)):
            return None
    return {old: new for old, new in found.items() if old != new} or None


def _component_rules(renaming: Mapping[str, str], names: Iterable[str]) -> dict[str, str | None]:
    """Return the rules that rename components, wherever in a name they stand."""
    split = [name.split(".") for name in names]
    rules: dict[str, str | None] = {}
    for old, new in renaming.items():
        places = {0 if parts[0] == old else 2 if parts[-1] == old else 1 for parts in split if old in parts}
        before, head = ("", "") if places == {0} else (r"(.*)\.", r"\1.")
        after = r"\.(.*)" if places != {2} else ""
        if places > {0}:
            before, head = r"(|.*\.)", r"\g<1>"
        tail = (r".\2" if before else r".\1") if after else ""
        rules[f"{before}{re.escape(old)}{after}"] = f"{head}{new}{tail}"
    return rules


def _module_rules(pairs: list[tuple[str, str]]) -> Iterator[Passes]:
    """Yield a rule for each module, if names of one order tell which became which."""
    found: dict[str, str] = {}
    for old, new in pairs:
        (module, _, leaf), (other, _, own_leaf) = old.rpartition("."), new.rpartition(".")
        if leaf != own_leaf or found.setdefault(module, other) != other or not module or not other:
            return
    if len(found) <= MOST_MODULES:
        yield ({rf"{re.escape(old)}\.(.*)": rf"{new}.\1" for old, new in found.items() if old != new},)
