"""Bytes and JSON with something wrong in them, drawn by dice; and values that are wrong almost anywhere."""

from __future__ import annotations

import copy
import json
import random
from collections.abc import Callable
from typing import Any

from hypothesis import strategies as st
from mutations import HOSTILE, mutated

EXTREMES = (0, 1, 0x7F, 0x80, 0xFF, 0x7FFF, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF)

texts = st.text(st.characters(codec=None), max_size=30)  # any of Unicode, surrogates too
numbers = st.one_of(st.integers(), st.integers(-(10**40), 10**40), st.floats())
values = st.recursive(
    st.one_of(st.none(), st.booleans(), numbers, texts, st.sampled_from(HOSTILE)),
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(texts, inner, max_size=4)),
    max_leaves=8,
)


def _flipped(content: bytearray, dice: random.Random) -> None:
    for _ in range(dice.choice((1, 1, 2, 8))):
        content[dice.randrange(len(content))] ^= 1 << dice.randrange(8)


def _overwritten(content: bytearray, dice: random.Random) -> None:
    """Put an extreme number somewhere, as one that lies about a size would be."""
    width, order = dice.choice((1, 2, 4, 8)), dice.choice(("little", "big"))
    place = dice.randrange(max(1, min(len(content), dice.choice((64, 512, len(content))))))
    value = dice.choice(EXTREMES) & ((1 << 8 * width) - 1)
    content[place : place + width] = value.to_bytes(width, order)  # type: ignore[arg-type]


def _cut(content: bytearray, dice: random.Random) -> None:
    del content[dice.randrange(len(content)) :]


def _without(content: bytearray, dice: random.Random) -> None:
    start = dice.randrange(len(content))
    del content[start : start + dice.choice((1, 2, 16, 500))]


def _inserted(content: bytearray, dice: random.Random) -> None:
    place = dice.randrange(len(content) + 1)
    content[place:place] = dice.randbytes(dice.choice((1, 3, 64, 2000)))


def _spliced(content: bytearray, dice: random.Random) -> None:
    source, target, length = dice.randrange(len(content)), dice.randrange(len(content)), dice.choice((1, 8, 100, 2000))
    content[target : target + length] = content[source : source + length]


def _zeroed(content: bytearray, dice: random.Random) -> None:
    start = dice.randrange(len(content))
    length = min(dice.choice((1, 16, 1000)), len(content) - start)
    content[start : start + length] = bytes(length)


def _doubled(content: bytearray, _: random.Random) -> None:
    content += bytes(content)


WAYS: tuple[Callable[[bytearray, random.Random], None], ...] = (
    *(_flipped, _flipped, _overwritten, _overwritten, _cut, _without, _inserted, _spliced, _zeroed),
    _doubled,
)


def damaged(content: bytes, dice: random.Random) -> bytes:
    """Return bytes with one to three things wrong."""
    changed = bytearray(content)
    for _ in range(dice.choice((1, 1, 2, 3))):
        if changed:
            dice.choice(WAYS)(changed, dice)
    return bytes(changed)


def changed_json(content: Any, dice: random.Random, value: Any = None) -> Any:
    """Return a JSON content with one to three things changed; a value that was drawn may be put somewhere too."""
    changed = copy.deepcopy(content)
    for _ in range(dice.choice((1, 1, 2, 3))):
        changed = (
            mutated(changed, dice, under=(), value=value) if changed and isinstance(changed, dict | list) else changed
        )
    return changed


def as_json(content: Any) -> bytes:
    """Return JSON in ASCII, in which what is not a text of Unicode is escaped."""
    return json.dumps(content).encode()
