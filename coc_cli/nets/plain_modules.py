"""Modules of torch.nn as a graph has them: which kind one is, and one made of its kind and arguments."""

from __future__ import annotations

import inspect
from typing import Any

from torch import nn

from coc_cli.nets.module_kinds import MODULES

_LEAST = {"padding": 0, "output_padding": 0, "dilation": 1}  # torch looks only when it computes


def kind_of(module: nn.Module) -> str | None:
    """Return the kind that a module is: of that class, or of one below it that computes just the same."""
    for base in type(module).__mro__:
        if base.__name__ in MODULES and base is getattr(nn, base.__name__):
            own = type(module)
            inner = getattr(base, "_conv_forward", None)
            is_plain = own.forward is base.forward and getattr(own, "_conv_forward", None) is inner
            return base.__name__ if is_plain else None
    return None


def arguments_of(module: nn.Module, kind: str) -> dict[str, Any]:
    """Return the arguments with which a module's constructor makes another like it, without defaults."""
    defaults = inspect.signature(getattr(nn, kind).__init__).parameters
    found: dict[str, Any] = {}
    for name in MODULES[kind]:
        value = getattr(module, name)
        if name == "bias":
            value = value is not None
        elif isinstance(value, list | tuple):
            value = tuple(value)
        value = _short(value) if kind.startswith("Conv") else value
        if value != defaults[name].default or type(value) is not type(defaults[name].default):
            found[name] = value
    return found


def _short(value: Any) -> Any:
    """Return one number for a kernel, a stride or a padding that is the same in all directions."""
    is_even = isinstance(value, tuple) and len(set(value)) == 1
    return value[0] if is_even else value


def made(kind: str, arguments: dict[str, Any]) -> nn.Module:
    """Return a fresh module; raises whatever torch does for arguments that cannot be."""
    unknown = arguments.keys() - set(MODULES[kind])
    if unknown:
        raise ValueError(f"{kind} takes no {min(unknown)}")
    module: nn.Module = getattr(nn, kind)(**arguments)
    if kind.startswith(("Conv", "Unfold")):
        _check_sizes(module)
    return module


def _check_sizes(module: nn.Module) -> None:
    for name, least in _LEAST.items():
        value = getattr(module, name, None)
        numbers = value if isinstance(value, tuple) else (value,)
        if any(isinstance(one, int) and one < least for one in numbers):
            raise ValueError(f"{name} {value} is less than {least}")
