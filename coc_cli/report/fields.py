"""Files that may be damaged: what can be read of them, and plain sentences about what cannot."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

FEW = 3  # sentences alike
LARGEST = 1e30  # no figure of a run is as large; infinity and what would overflow a drawing are not


class Missing:
    """What a report lacks: whole sentences, and keys by the place where they should stand."""

    def __init__(self) -> None:
        self._said: dict[str, list[str]] = {}

    def say(self, sentence: str) -> None:
        """Note a sentence, once."""
        self._said.setdefault(sentence, [])

    def lack(self, where: str, key: str) -> None:
        """Note that a key is absent, or not of the kind that it should be."""
        keys = self._said.setdefault(where, [])
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


class Fields:
    """A mapping out of a file, read key by key; what is absent or of a wrong kind is None, or empty, and noted."""

    def __init__(self, content: Any, where: str, missing: Missing) -> None:
        self.where, self.missing = where, missing
        self.content: dict[str, Any] = content if isinstance(content, dict) else {}
        if not isinstance(content, dict):
            missing.say(f"{where} is not a mapping")

    def __contains__(self, key: str) -> bool:
        return self.content.get(key) is not None

    def _noted(self, key: str, value: Any) -> Any:
        if value is None:
            self.missing.lack(self.where, key)
        return value

    def number(self, key: str) -> float | None:
        """Give a finite number."""
        value: float | None = self._noted(key, _number(self.content.get(key)))
        return value

    def maybe(self, key: str) -> float | None:
        """Give a finite number, or None where there may be none."""
        return _number(self.content.get(key))

    def text(self, key: str) -> str | None:
        """Give a text."""
        value = self.content.get(key)
        found: str | None = self._noted(key, printable(value) if isinstance(value, str) else None)
        return found

    def flag(self, key: str) -> bool | None:
        """Give True or False."""
        found: bool | None = self._noted(key, self.maybe_flag(key))
        return found

    def maybe_flag(self, key: str) -> bool | None:
        """Give True or False, or None where there may be neither."""
        value = self.content.get(key)
        return value if isinstance(value, bool) else None

    def pair(self, key: str) -> tuple[float, float] | None:
        """Give two numbers."""
        found = self.maybe_pair(key)
        self._noted(key, found)
        return found

    def maybe_pair(self, key: str) -> tuple[float, float] | None:
        """Give two numbers, or None where there may be none."""
        return _pair(self.content.get(key))

    def texts(self, key: str) -> tuple[str, ...]:
        """Give the items of a list as texts; nothing where there is no list."""
        value = self.content.get(key)
        return tuple(map(printable, value)) if isinstance(value, list) else ()

    def each(self, key: str, what: str) -> Iterator[Fields]:
        """Give the mappings of a list, each with its own place for notes."""
        value = self.content.get(key)
        if not isinstance(value, list):
            self._noted(key, None)
            return
        for index, item in enumerate(value):
            name = item.get("name", index) if isinstance(item, dict) else index
            yield Fields(item, f"{self.where}, {what} {printable(name)}", self.missing)

    def part(self, key: str) -> Fields:
        """Give a mapping inside this one; an empty one, noted, where there is none."""
        value = self.content.get(key)
        self._noted(key, value if isinstance(value, dict) else None)
        return Fields(value if isinstance(value, dict) else {}, f"{self.where}, {key}", self.missing)


def _number(value: Any) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float) or abs(value) > LARGEST or math.isnan(value):
        return None
    return value


def printable(value: Any) -> str:
    """Give a text in one line, without what would steer a terminal."""
    return "".join(one if one.isprintable() else " " for one in str(value))


def whole(value: Any) -> int | None:
    """Give an integer if this is one."""
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def _pair(value: Any) -> tuple[float, float] | None:
    """Give two numbers if these are two."""
    if not isinstance(value, list) or len(value) != 2:  # noqa: PLR2004
        return None
    low, high = map(_number, value)
    return None if low is None or high is None else (low, high)


def read_text(path: Path, name: str, missing: Missing) -> str | None:
    """Give a file's text; None, noted, where it cannot be read."""
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        missing.say(f"{name} is not there")
    except (OSError, UnicodeDecodeError) as error:
        missing.say(f"{name} cannot be read ({type(error).__name__})")
    return None


def read_json(path: Path, name: str, missing: Missing) -> Fields | None:
    """Give a JSON file's mapping; None, noted, where it is absent or damaged."""
    text = read_text(path, name, missing)
    if text is None:
        return None
    if not text.strip():
        missing.say(f"{name} is empty")
        return None
    try:
        content = json.loads(text)
    except (ValueError, RecursionError) as error:
        missing.say(f"{name} is damaged: {error}")
        return None
    if not isinstance(content, dict):
        missing.say(f"{name} is not a mapping")
        return None
    return Fields(content, name, missing)


def read_lines(path: Path, name: str, missing: Missing, only: set[int] | None = None) -> Iterator[Fields]:
    """Give the mappings of a file of JSON lines, all or those at some places; damaged lines are counted and noted."""
    damaged = 0
    try:
        with path.open("rb") as file:
            for index, line in enumerate(file):
                if only is not None and index not in only:
                    continue
                try:
                    content = json.loads(line)
                except (ValueError, RecursionError):
                    damaged += 1
                else:
                    yield Fields(content, f"{name}, line {index + 1}", missing)
    except FileNotFoundError:
        missing.say(f"{name} is not there")
    except OSError as error:
        missing.say(f"{name} cannot be read ({type(error).__name__})")
    if damaged:
        missing.say(f"{name}: {damaged} damaged line{'s' * (damaged > 1)} left out")
