"""What calls mean that networks write in several ways: an operation of the list, and the arguments in its own terms."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

import torch
from torch import Tensor

from coc_cli.errors import StageError
from coc_cli.nets.operations import BY_SPELLING, OPERATIONS, Operation

Meaning: TypeAlias = tuple[Operation | None, tuple[Any, ...], dict[str, Any]]  # None: nothing of the list
Sizes: TypeAlias = Callable[[Tensor], tuple[Any, ...]]  # of a tensor, as sizes that remember it

CASTS: dict[str, torch.dtype | None] = {  # None: what is asked for, or the same
    **dict.fromkeys(("to", "type", "type_as", "cpu", "cuda")),
    "float": torch.float32,
    "half": torch.float16,
    "double": torch.float64,
    "bfloat16": torch.bfloat16,
    "int": torch.int32,
    "long": torch.int64,
    "bool": torch.bool,
}


def meaning(word: str, args: tuple[Any, ...], kwargs: dict[str, Any], sizes: Sizes) -> Meaning:
    """Return the operation that a call of a function means, with its arguments."""
    if word in CASTS:
        return _cast(word, args, kwargs)
    if word in _REWRITTEN:
        return _REWRITTEN[word](word, args, kwargs, sizes)
    return BY_SPELLING.get(word), args, kwargs


def _cast(word: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Meaning:
    """Return what a change of type or device means; where the network runs is not its own to say."""
    given = [value.dtype if isinstance(value, Tensor) else value for value in (*args[1:], *kwargs.values())]
    asked = CASTS[word] or next((value for value in given if isinstance(value, torch.dtype)), args[0].dtype)
    if word == "type" and isinstance(given[0] if given else 0, (str, type)):
        asked = torch.float32 if "Float" in str(given[0]) else torch.float16
    if asked == args[0].dtype:
        return OPERATIONS["identity"], args[:1], {}
    if asked == torch.float32:
        return OPERATIONS["as_float"], args[:1], {}
    raise StageError(f"turns numbers into {str(asked).removeprefix('torch.')}; leave them float32", "arch")


def _reshaped(_: str, args: tuple[Any, ...], kwargs: dict[str, Any], __: Sizes) -> Meaning:
    is_cast = len(args) > 1 and isinstance(args[1], torch.dtype)
    return None if is_cast else OPERATIONS["reshape"], args, kwargs


def _like_another(_: str, args: tuple[Any, ...], __: dict[str, Any], sizes: Sizes) -> Meaning:
    return OPERATIONS["reshape"], (args[0], tuple(sizes(args[1]))), {}


def _filled(word: str, args: tuple[Any, ...], kwargs: dict[str, Any], sizes: Sizes) -> Meaning:
    value = {"zeros": 0.0, "ones": 1.0}.get(word.removeprefix("new_").removesuffix("_like"))
    shape = tuple(sizes(args[0])) if word.endswith("_like") else kwargs.get("size", args[1:])
    shape = shape[0] if len(shape) == 1 and isinstance(shape[0], (tuple, list)) else shape
    if word.startswith("new_full"):
        shape, value = args[1], args[2] if len(args) > 2 else kwargs["fill_value"]  # noqa: PLR2004
    value = kwargs.get("fill_value", args[-1]) if value is None else value
    return OPERATIONS["filled"], (args[0], tuple(shape), value), {}


def _looked_up(_: str, args: tuple[Any, ...], kwargs: dict[str, Any], __: Sizes) -> Meaning:
    """Return what an embedding means: rows of a table."""
    is_plain = kwargs.get("max_norm") is None and (len(args) <= 3 or args[3] is None)  # noqa: PLR2004
    return OPERATIONS["getitem"] if is_plain else None, (args[1], args[0]), {}


def _turned(_: str, args: tuple[Any, ...], __: dict[str, Any], ___: Sizes) -> Meaning:
    return OPERATIONS["transpose"], (args[0], -2, -1), {}


def _alone(_: str, args: tuple[Any, ...], kwargs: dict[str, Any], __: Sizes) -> Meaning:
    return OPERATIONS["detach"], args, kwargs


_REWRITTEN: dict[str, Callable[[str, tuple[Any, ...], dict[str, Any], Sizes], Meaning]] = {
    **dict.fromkeys(("view", "reshape"), _reshaped),
    **dict.fromkeys(("view_as", "reshape_as"), _like_another),
    **dict.fromkeys(("new_zeros", "new_ones", "new_full", "zeros_like", "ones_like", "full_like"), _filled),
    **dict.fromkeys(("t", "T", "mT"), _turned),
    "data": _alone,
    "embedding": _looked_up,
}
