"""Pydantic's errors about a recipe's keys and values, as the sentences that a user reads."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from coc_cli.errors import Fault, did_you_mean
from coc_cli.files.yaml_source import Loc, YamlSource, dotted
from coc_cli.frozen import KINDS, WRONG_KIND
from coc_cli.recipe.model import DEADLINE_FORM, DEVICE_FORM, NAME_FORM, Recipe
from coc_cli.units import LONGEST_NAME, clipped

NEEDS: dict[str, str] = {
    "int_type": "a whole number",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "bool_type": "true or false",
    "string_type": "text",
    "string_too_short": "text that is not empty",
    "tuple_type": "a list",
    "list_type": "a list",
    "dict_type": "a mapping of keys",
    "model_type": "a mapping of keys",
    "model_attributes_type": "a mapping of keys",
}
FORMS = {  # of patterns, in words
    NAME_FORM: "letters, digits, '.', '_' and '-', a letter or a digit first",
    DEVICE_FORM: "auto, cpu, cuda or cuda:N",
    DEADLINE_FORM: "a time as 12ms or 1.25x",
}
SCALED = "; it is of pixels scaled to 0..1, so divide that of 0..255 by 255"
BOUNDS = (("ge", "at least"), ("le", "at most"), ("gt", "more than"), ("lt", "less than"))


def readable(error: ValidationError, source: YamlSource) -> Iterator[Fault]:
    """Yield the faults that pydantic found, each at its key."""
    for details in error.errors():
        loc = _place(details)
        if details["type"] == "extra_forbidden":
            yield Fault(source.fault(loc, "").where, f"{dotted(loc[:-1])}: {_unknown(loc)}".removeprefix(": "))
        elif details["type"] == "missing":
            yield source.fault(loc[:-1], f"key '{loc[-1]}' is missing")
        elif details["type"] != "too_short" or details["ctx"]["actual_length"] == len(
            details["input"]
        ):  # of valid items
            yield source.fault(loc, _sentence(details))


def _place(details: ErrorDetails) -> Loc:
    """Return the place of an error, without the kinds by which unions are discriminated."""
    return tuple(part for part in details["loc"] if part not in KINDS)


def _value_text(value: Any) -> str:
    if value is None:
        return "nothing"
    return (
        "a mapping"
        if isinstance(value, dict)
        else "a list"
        if isinstance(value, list)
        else clipped(repr(value), LONGEST_NAME)
    )


def _unknown(loc: Loc) -> str:
    keys = _known_keys(Recipe, loc[:-1])
    word = "stage" if len(loc) == 3 and loc[0] == "chain" else "key"  # noqa: PLR2004  (chain, index, stage)
    return f"no such {word} '{loc[-1]}'; {did_you_mean(str(loc[-1]), keys)}"


def _known_keys(model: Any, loc: Loc) -> list[str]:
    """Return the keys that may stand at a place of a recipe."""
    for part in loc:
        if isinstance(part, int):
            continue
        fields = getattr(model, "model_fields", {})
        model = _model_in(fields[part].annotation) if part in fields else model
    return list(getattr(model, "model_fields", {}))


def _model_in(annotation: Any) -> Any:
    """Return the model in `X | None`, `tuple[X, ...]`, `dict[str, X]` or `Annotated[X, ...]`."""
    if hasattr(annotation, "model_fields"):
        return annotation
    models = (_model_in(inner) for inner in getattr(annotation, "__args__", ()))
    return next((model for model in models if model is not None), None)


def _sentence(details: ErrorDetails) -> str:
    kind, context, got = details["type"], details.get("ctx", {}), _value_text(details["input"])
    if kind == WRONG_KIND:
        return f"needs {details['msg']}, got {got}"
    if kind in NEEDS:
        return f"needs {NEEDS[kind]}, got {got}"
    if kind == "literal_error":
        return f"needs {context['expected']}, got {got}"
    for bound, words in BOUNDS:
        if bound in context:
            is_pixels = bound == "le" and details["loc"][:2] in (("model", "mean"), ("model", "std"))
            return f"needs {words} {context[bound]:.12g}, got {got}{SCALED if is_pixels else ''}"
    if kind == "string_pattern_mismatch":
        return f"needs {FORMS.get(context['pattern'], context['pattern'])}, got {got}"
    own = f"{details['msg'][0].lower()}{details['msg'][1:]}, got {got}"
    if kind == "string_too_long":
        own = f"needs at most {context['max_length']} characters, got {len(details['input']):,}"
    least = context.get("min_length")
    return f"needs at least {'one item' if least == 1 else f'{least} items'}" if kind == "too_short" else own
