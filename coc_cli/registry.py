"""Registries: a folder's `__init__.py` imports each thing of a kind, and these lines of import are its entries."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

T = TypeVar("T")


def registered(namespace: Mapping[str, Any], base: type[T]) -> dict[str, type[T]]:
    """Return the classes below `base` that a module has imported, by their `name`, in the order of its lines."""
    classes = (value for value in namespace.values() if isinstance(value, type) and issubclass(value, base))
    return {vars(one)["name"]: one for one in classes if "name" in vars(one)}
