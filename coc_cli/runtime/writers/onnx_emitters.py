"""What all ONNX emitters share: their registry, and the shapes and sizes of arguments.

Each emitter takes the scope, the operation and its arguments by name (a tensor is its name in ONNX), and returns the
name of what it gives, or a list of names for several tensors.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from coc_cli.runtime.graph import Operation
from coc_cli.runtime.writers.onnx_scope import Scope

MATRIX = 2  # dimensions
Emitter = Callable[[Scope, Operation, Any], Any]
EMITTERS: dict[str, Emitter] = {}


def emits(*kinds: str) -> Callable[[Emitter], Emitter]:
    def note(emitter: Emitter) -> Emitter:
        EMITTERS.update(dict.fromkeys(kinds, emitter))
        return emitter

    return note


def shape_of(scope: Scope, node: Operation, index: int = 0) -> tuple[int, ...]:
    """Return the shape of an operand, with -1 for a first dimension that follows the number of images."""
    return scope.value(node.inputs[index]).dims


def pair(value: Any) -> list[int]:
    return list(value) if isinstance(value, tuple | list) else [value, value]


def pads(padding: Any) -> list[int]:
    return pair(padding) * 2
