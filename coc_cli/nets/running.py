"""Running nodes one after the other. Nothing that a graph says ever becomes program text."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

from torch import nn
from torch.fx import Node

from coc_cli.nets.operations import OPERATIONS


@cache
def function_of(operation: str) -> Callable[..., Any]:
    """Return what runs for an operation of the list."""
    module, name = OPERATIONS[operation].function.split(":")
    function: Callable[..., Any] = getattr(importlib.import_module(module), name)
    return function


@cache
def _names() -> dict[Any, str]:
    return {function_of(name): name for name in OPERATIONS}


def operation_of(node: Node) -> str:
    """Return the operation that a `call_function` node runs."""
    return _names()[node.target]


def attribute(root: nn.Module, path: str) -> Any:
    """Return what lies at a path below a module."""
    value: Any = root
    for part in path.split("."):
        value = getattr(value, part)
    return value


class _Slot(int):
    """Where a value lies while nodes run."""


class Program:
    """Nodes made ready to run: `program(root, *inputs)` gives the values of its outputs, in order."""

    def __init__(self, nodes: Sequence[Node], inputs: Sequence[Node], outputs: Sequence[Node]) -> None:
        slots = {node: _Slot(index) for index, node in enumerate((*inputs, *nodes))}
        last_use = {node: node for node in (*inputs, *nodes)}
        for node in nodes:
            last_use.update(dict.fromkeys(node.all_input_nodes, node))
        kept = set(outputs)
        self.inputs, self.size = len(inputs), len(slots)
        self.outputs = tuple(slots[node] for node in outputs)
        self.steps: list[tuple[str, Any, tuple[Any, ...], _Slot, tuple[_Slot, ...]]] = []
        for node in nodes:
            dead = tuple(slots[used] for used in {*node.all_input_nodes, node} - kept if last_use[used] is node)
            args = tuple(_placed(arg, slots) for arg in node.args)
            target = tuple(str(node.target).split(".")) if node.op == "call_module" else node.target
            self.steps.append((node.op, target, args, slots[node], dead))

    def __call__(self, root: nn.Module, *inputs: Any) -> tuple[Any, ...]:
        values: list[Any] = [*inputs, *[None] * (self.size - self.inputs)]
        for kind, target, args, slot, dead in self.steps:
            if kind == "call_module":
                module = root
                for part in target:
                    module = module._modules[part]  # type: ignore[assignment]  # noqa: SLF001  (half the time of getattr)
                values[slot] = module(values[args[0]])
            elif kind == "call_function":
                values[slot] = target(*[_filled(arg, values) for arg in args])
            else:
                values[slot] = attribute(root, target)
            for used in dead:
                values[used] = None
        return tuple(values[slot] for slot in self.outputs)


def _placed(arg: Any, slots: dict[Node, _Slot]) -> Any:
    """Return an argument with slots in place of nodes."""
    if isinstance(arg, Node):
        return slots[arg]
    if isinstance(arg, (tuple, list)):
        return tuple(_placed(item, slots) for item in arg)
    if isinstance(arg, slice):
        return slice(*(_placed(part, slots) for part in (arg.start, arg.stop, arg.step)))
    return arg


def _filled(arg: Any, values: list[Any]) -> Any:
    kind = type(arg)
    if kind is _Slot:
        return values[arg]
    if kind is tuple:
        return tuple(_filled(item, values) for item in arg)
    if kind is slice:
        return slice(_filled(arg.start, values), _filled(arg.stop, values), _filled(arg.step, values))
    return arg
