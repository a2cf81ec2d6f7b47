"""The values that pass while a network is traced: tensors without values, and sizes that know where they are from."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

from coc_cli.nets.names import plain_path
from coc_cli.nets.sizes import Size, plain


def shape_of(tensor: Tensor) -> tuple[int, ...]:
    with torch._C.DisableTorchFunction():  # noqa: SLF001
        return tuple(tensor.shape)


def memory_of(tensor: Tensor) -> int:
    with torch._C.DisableTorchFunction():  # noqa: SLF001
        return int(tensor.untyped_storage()._cdata)  # noqa: SLF001


def held_tensors(root: nn.Module) -> dict[str, Tensor]:
    """Return every parameter, buffer and plain tensor that a module holds, by path."""
    found: dict[str, Tensor] = {}
    for path, module in root.named_modules():
        held = {**module._parameters, **module._buffers, **vars(module)}  # noqa: SLF001
        tensors = {name: value for name, value in held.items() if isinstance(value, Tensor)}
        found.update({plain_path(f"{path}.{name}".lstrip(".")): value for name, value in tensors.items()})
    return found


def tensors_in(value: Any) -> Iterator[Tensor]:
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, (tuple, list)):
        for item in value:
            yield from tensors_in(item)
    elif isinstance(value, dict):
        yield from tensors_in(tuple(value.values()))


def sizes_in(value: Any) -> Iterator[Size]:
    if isinstance(value, Size):
        yield value
    elif isinstance(value, (tuple, list)):
        for item in value:
            yield from sizes_in(item)
    elif isinstance(value, dict):
        yield from sizes_in(tuple(value.values()))


def without_sizes(value: Any) -> Any:
    """Return a value with plain numbers in place of sizes."""
    if isinstance(value, Size):
        return plain(value)
    if isinstance(value, (tuple, list)):
        return tuple(without_sizes(item) for item in value)
    if isinstance(value, slice):
        return slice(*(without_sizes(part) for part in (value.start, value.stop, value.step)))
    if isinstance(value, dict):
        return {key: without_sizes(item) for key, item in value.items()}
    return value


def on_meta(value: Any) -> Any:
    """Return a value with every tensor on the meta device."""
    if isinstance(value, Tensor):
        return value if value.is_meta else value.to("meta")
    if isinstance(value, (tuple, list)):
        return tuple(on_meta(item) for item in value)
    if isinstance(value, dict):
        return {key: on_meta(item) for key, item in value.items()}
    return value
