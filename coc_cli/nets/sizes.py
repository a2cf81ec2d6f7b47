"""Sizes that remember the tensor that they are of, while a network is traced."""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from typing_extensions import Self

Reserve = Callable[[str], None]  # told the name that an older trace gave to what is computed


class Size(int):
    """A whole number that behaves as one, and knows the operation and the operands that made it."""

    operation: str | None
    parts: tuple[Any, ...]
    reserve: Reserve

    def __new__(cls, value: int, operation: str, parts: tuple[Any, ...], reserve: Reserve) -> Self:
        made = super().__new__(cls, value)
        made.operation, made.parts, made.reserve = operation, parts, reserve
        return made

    def __reduce__(self) -> tuple[Any, ...]:
        return int, (plain(self),)  # a copy is a plain number

    def _with(self, name: str, parts: tuple[Any, Any]) -> Any:
        if not all(isinstance(part, int) and not isinstance(part, bool) for part in parts):
            return (
                NotImplemented
                if not isinstance(parts[0], float) and not isinstance(parts[1], float)
                else _OF[name](*map(plain, parts))
            )
        self.reserve(name)
        return Size(_OF[name](*map(plain, parts)), name, parts, self.reserve)

    def __add__(self, other: Any) -> Any:
        return self._with("add", (self, other))

    def __radd__(self, other: Any) -> Any:
        return self._with("add", (other, self))

    def __sub__(self, other: Any) -> Any:
        return self._with("sub", (self, other))

    def __rsub__(self, other: Any) -> Any:
        return self._with("sub", (other, self))

    def __mul__(self, other: Any) -> Any:
        return self._with("mul", (self, other))

    def __rmul__(self, other: Any) -> Any:
        return self._with("mul", (other, self))

    def __floordiv__(self, other: Any) -> Any:
        return self._with("floordiv", (self, other))

    def __rfloordiv__(self, other: Any) -> Any:
        return self._with("floordiv", (other, self))

    def __mod__(self, other: Any) -> Any:
        return self._with("mod", (self, other))

    def __neg__(self) -> Any:
        return self._with("sub", (0, self))


_OF: dict[str, Callable[[Any, Any], Any]] = {
    "add": operator.add,
    "sub": operator.sub,
    "mul": operator.mul,
    "floordiv": operator.floordiv,
    "mod": operator.mod,
}


def plain(value: Any) -> Any:
    """Return a size as a plain number; anything else as it is."""
    return int.__int__(value) if isinstance(value, Size) else value


class Shape(tuple[Any, ...]):  # noqa: SLOT001  (it holds what a tuple cannot)
    """The sizes of a tensor."""

    reserve: Reserve

    def __new__(cls, sizes: Any, reserve: Reserve) -> Self:
        made = super().__new__(cls, sizes)
        made.reserve = reserve
        return made

    def __getitem__(self, index: Any) -> Any:
        self.reserve("getitem")
        return super().__getitem__(index)

    def __iter__(self) -> Iterator[Any]:
        for size in super().__iter__():
            self.reserve("getitem")
            yield size

    def numel(self) -> Any:
        """Return the product of the sizes, as of torch.Size."""
        product: Any = 1
        for size in super().__iter__():
            product = size * product
        return product
