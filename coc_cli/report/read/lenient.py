"""Reading leniently: what can be read of a file that may be damaged, and plain sentences about what cannot."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import fields
from functools import cache
from types import NoneType
from typing import Any, TypeVar, get_args, get_origin, get_type_hints

from coc_cli.report.schema.part import ADDED, JsonPart
from coc_cli.units import printable

FEW = 3  # sentences alike
LARGEST = 1e30  # no figure of a run is as large; infinity and what would overflow a drawing are not
UNKNOWN = {str: "?", float: 0.0, int: 0}  # where a view has no room for None

View = TypeVar("View")


class MissingNotes:
    """What a report lacks: full sentences, and keys by the place where they should stand."""

    def __init__(self) -> None:
        self._said: dict[str, list[str]] = {}
        self.damaged: list[str] = []  # files that do not match their checksum

    def damage(self, name: str) -> None:
        """Note that a file does not match its checksum."""
        self.damaged.append(f"damaged: {printable(name)} does not match its checksum")

    def say(self, sentence: str) -> None:
        """Note a sentence, once."""
        self._said.setdefault(printable(sentence), [])

    def lack(self, where: str, key: str) -> None:
        """Note that a key is absent, or not of the kind that it should be."""
        keys = self._said.setdefault(printable(where), [])
        if key not in keys:
            keys.append(key)

    @property
    def sentences(self) -> tuple[str, ...]:
        """Everything that was noted, in order; what many parts of one thing lack is one sentence."""
        alike: dict[tuple[str, ...], list[str]] = {}
        for where, keys in self._said.items():
            alike.setdefault((where.rpartition(", ")[0] if keys else where, *keys), []).append(where)
        return tuple(sentence for (_, *keys), places in alike.items() for sentence in _lacking(places, keys))


def _lacking(places: list[str], keys: list[str]) -> list[str]:
    if not keys:
        return places
    what = ", ".join(keys)
    if len(places) > FEW:
        return [f"{places[0]} and {len(places) - 1} more there lack {what}"]
    return [f"{place} lacks {what}" for place in places]


class Lenient:
    """A mapping out of a file, read as a part of the schema; what is absent or of a wrong kind is None, and noted.

    Not noted is what may be null and what older files lack.
    """

    def __init__(self, model: type[JsonPart], content: Any, where: str, missing: MissingNotes, place: int = 0) -> None:
        """Wrap the content that stands at `where`, the `place`-th of its list."""
        self.model, self.where, self.missing, self.place = model, where, missing, place
        self.content: dict[str, Any] = content if isinstance(content, dict) else {}
        if not isinstance(content, dict):
            missing.say(f"{where} is not a mapping")

    @property
    def quiet(self) -> Lenient:
        """The same mapping, of which nothing is noted."""
        return Lenient(self.model, self.content, self.where, MissingNotes(), self.place)

    def get(self, key: str) -> Any:
        """Return the value of a key of the schema: as the schema says, or None; lists of parts with `parts`."""
        value = _checked(_kind(self.model, key)[0], self.content.get(key))
        if value is None and _kind(self.model, key)[1]:
            self.missing.lack(self.where, key)
        return value

    def part(self, key: str) -> Lenient:
        """Return a mapping inside this one; an empty one where there is none."""
        return Lenient(_kind(self.model, key)[0], self.get(key) or {}, f"{self.where}, {key}", self.missing)

    def parts(self, key: str) -> Iterator[Lenient]:
        """Return the mappings of a list, each with its own place for notes."""
        model = get_args(_kind(self.model, key)[0])[0]
        for place, item in enumerate(self.get(key) or ()):
            name = printable(item.get("name", place) if isinstance(item, dict) else place)
            noun = model.__name__.removesuffix("Entry").lower()
            yield Lenient(model, item, f"{self.where}, {noun} {name}", self.missing, place)

    def view(self, cls: type[View], **derived: Any) -> View:
        """Return a view (see model.py): each of its fields that is not derived is the key of its name."""
        read = {name: self._seen(name, hint) for name, hint in _hints(cls) if name not in derived}
        return cls(**read, **derived)

    def _seen(self, key: str, hint: Any) -> Any:
        """Return a key's value as a view's field, of type `hint`, has it."""
        kind = _kind(self.model, key)[0]
        if isinstance(kind, type) and issubclass(kind, JsonPart):
            return self.part(key).view(_inner(hint)) if self.get(key) is not None else None
        if get_origin(kind) is list and (cls := get_args(hint)[0]) is not str:
            return tuple(each.view(cls) for each in self.parts(key))
        value = integer(self.get(key)) if hint is int else self.get(key)
        return self._unknown(key, hint) if value is None else value

    def _unknown(self, key: str, hint: Any) -> Any:
        """Return what a view's field has where its key cannot be read."""
        if key == "index":
            return self.place
        return () if get_origin(hint) is tuple else UNKNOWN.get(hint)


def _hints(view: Any) -> list[tuple[str, Any]]:
    """Return the fields of a view with their types."""
    hints = get_type_hints(view)
    return [(field.name, hints[field.name]) for field in fields(view)]


@cache
def _kind(model: type[JsonPart], key: str) -> tuple[Any, bool]:
    """Return the type of a key, without the None that may stand there, and whether its absence is noted.

    A key that the schema does not have is our mistake, a KeyError.
    """
    info = model.model_fields[key]
    hint: Any = info.annotation
    can_be_none = NoneType in get_args(hint) or hint == MAYBE_PAIR
    return _inner(hint), not (can_be_none or ADDED in info.metadata)


def _inner(hint: Any) -> Any:
    kinds = [kind for kind in get_args(hint) if kind is not NoneType]
    return kinds[0] if NoneType in get_args(hint) and len(kinds) == 1 else hint


def _checked(kind: Any, value: Any) -> Any:
    """Return a value if it is of a kind, else None; of parts and what is not checked here, lists and mappings."""
    check = CHECKS.get(kind)
    if check:
        return check(value)
    is_mapping = isinstance(kind, type) and issubclass(kind, JsonPart)
    expected = dict if is_mapping else list if get_origin(kind) is list else object
    return value if isinstance(value, expected) else None


def number(value: Any) -> float | None:
    """Return a finite number if this is one."""
    if isinstance(value, bool) or not isinstance(value, int | float) or abs(value) > LARGEST or math.isnan(value):
        return None
    return value


def integer(value: Any) -> int | None:
    """Return an integer if this is one."""
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def _text(value: Any) -> str | None:
    return printable(value) if isinstance(value, str) else None


def _texts(value: Any) -> tuple[str, ...] | None:
    return tuple(map(printable, value)) if isinstance(value, list) else None


def _flag(value: Any) -> bool | None:
    return value if isinstance(value, bool) else None


def _pair(value: Any) -> tuple[float, float] | None:
    if not isinstance(value, list) or len(value) != 2:  # noqa: PLR2004
        return None
    low, high = map(number, value)
    return None if low is None or high is None else (low, high)


MAYBE_PAIR: Any = tuple[float | None, float | None]
CHECKS: dict[Any, Callable[[Any], Any]] = {
    str: _text,
    bool: _flag,
    float: number,
    int: number,
    int | float: number,
    list[str]: _texts,
    tuple[float, float]: _pair,
    MAYBE_PAIR: _pair,
}
