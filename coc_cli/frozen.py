"""The base of all that is read from a file or a recipe: strict, immutable, and unions discriminated by kind."""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Any

from pydantic import BaseModel, ConfigDict, Discriminator

WRONG_KIND = "wrong_kind"  # the type of the error where a value is none of a union's kinds

# The kinds of a JSON value; in brackets, so that no key of a user's is mistaken for one in an error's place.
FLAG, INTEGER, NUMBER, TEXT, LIST, MAPPING = "<flag>", "<integer>", "<number>", "<text>", "<list>", "<mapping>"
KINDS = frozenset((FLAG, INTEGER, NUMBER, TEXT, LIST, MAPPING))


class Frozen(BaseModel):
    """A value: strict, immutable, and intolerant of keys it does not know."""

    model_config = ConfigDict(frozen=True, strict=True, extra="forbid")


def kind_of(value: Any) -> str | None:
    """Return the kind of a value; None for None and for types that JSON does not have."""
    for kind, types in _TYPES:
        if isinstance(value, types):
            return kind
    return None


_TYPES: tuple[tuple[str, type | tuple[type, ...]], ...] = (
    (FLAG, bool),  # before int, which it is too
    (INTEGER, int),
    (NUMBER, float),
    (TEXT, str),
    (LIST, (list, tuple)),
    (MAPPING, (dict, BaseModel)),
)


def by_kind(needs: str, *, words: Collection[str] = (), length: int | None = None) -> Discriminator:
    """Return the discriminator of a union, each of whose members has a kind as its `Tag`.

    A value of another kind, a text that is none of the `words`, or a list of another `length` is refused with one
    error of the type `WRONG_KIND` whose message is `needs`.
    """

    def decide(value: Any) -> str | None:
        kind = kind_of(value)
        is_other_word = kind == TEXT and bool(words) and value not in words
        is_other_length = kind == LIST and length is not None and len(value) != length
        return None if is_other_word or is_other_length else kind

    return by_function(needs, decide)


def by_function(needs: str, decide: Callable[[Any], str | None]) -> Discriminator:
    """Return the discriminator of a union whose members' tags a function computes from the value."""
    return Discriminator(decide, custom_error_type=WRONG_KIND, custom_error_message=needs)
