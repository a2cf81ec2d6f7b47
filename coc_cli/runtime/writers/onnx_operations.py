"""How ONNX says what is no integer operation: by the emitters of the modules below."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from coc_cli.errors import StageError
from coc_cli.runtime.graph import Operation, Ref
from coc_cli.runtime.writers import onnx_elementwise, onnx_layers, onnx_maps, onnx_moves
from coc_cli.runtime.writers.onnx_emitters import EMITTERS
from coc_cli.runtime.writers.onnx_scope import Scope

__all__ = ["emit", "onnx_elementwise", "onnx_layers", "onnx_maps", "onnx_moves"]


def emit(scope: Scope, node: Operation) -> Any:
    """Write an operation; return the name of what it gives, or several.

    Raises:
        StageError: If ONNX has no words for it here.
    """
    emitter = EMITTERS.get(node.kind)
    if emitter is None:
        raise StageError(f"'{node.name}' is a {node.kind}, for which coc has no ONNX yet", "to")
    moves = scope.value(node.name).grid is not None

    def filled(argument: Any) -> Any:
        if isinstance(argument, Ref):
            return scope.held[argument] if moves else scope.float_of(argument)
        if isinstance(argument, tuple | list):
            return tuple(filled(item) for item in argument)
        return argument

    return emitter(scope, node, SimpleNamespace(**node.bound([filled(argument) for argument in node.arguments])))
