"""Drawing: scales with ticks, and SVG whose colours and type come from the page's style sheet.

So a figure is a few kilobytes, follows dark mode and print, keeps its text text, and equal figures are equal bytes.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from html import escape

WIDTH = 360.0  # of every figure, in its own unit; a phone shows one unit as nearly one pixel
NICE = ((1, math.sqrt(2)), (2, math.sqrt(10)), (5, math.sqrt(50)), (10, math.inf))  # steps, and for which rough ones
DECADES = 7  # more than that, and only some powers of ten are named


@dataclass(frozen=True)
class Axis:
    """Puts values low..high at places start..end, linearly or by their logarithm."""

    low: float
    high: float
    start: float
    end: float
    log: bool = False

    def __call__(self, value: float) -> float:
        """Return the place of a value; what lies outside is at the border."""
        low, high, at = (math.log10(max(v, 1e-30)) if self.log else v for v in (self.low, self.high, value))
        fraction = (at - low) / (high - low) if high > low else 0.5
        return self.start + min(1.0, max(0.0, fraction)) * (self.end - self.start)

    def ticks(self, about: int = 5) -> list[float]:
        """Return round values within the scale."""
        if self.log:
            first, last = math.ceil(math.log10(self.low) - 1e-9), math.floor(math.log10(self.high) + 1e-9)
            step = max(1, math.ceil((last - first) / DECADES))
            within = (1, 2, 5) if last - first <= 1 else (1,)
            every = [factor * 10.0**power for power in range(first, last + 1, step) for factor in within]
            return [tick for tick in every if tick <= self.high * (1 + 1e-9)]
        width = _round_step((self.high - self.low) / about)
        first = math.ceil(self.low / width - 1e-9)
        return [index * width for index in range(first, math.floor(self.high / width + 1e-9) + 1)]


def _round_step(rough: float) -> float:
    if rough <= 0:
        return 1.0
    power = 10.0 ** math.floor(math.log10(rough))
    return next(factor * power for factor, most in NICE if rough <= most * power)


def around(values: Iterable[float], start: float, end: float, *, margin: float = 0.06) -> Axis:
    """Return a linear scale that holds some values with a margin."""
    shown_values = list(values) or [0.0, 1.0]
    low, high = min(shown_values), max(shown_values)
    space = (high - low) * margin or abs(high) * margin or 1.0
    return Axis(low - space, high + space, start, end)


def decades(values: Iterable[float], start: float, end: float) -> Axis:
    """Return a logarithmic scale from a power of ten to another that holds some values above zero."""
    shown_values = [value for value in values if value > 0] or [1.0]
    low, high = math.floor(math.log10(min(shown_values))), math.ceil(math.log10(max(shown_values)) + 1e-9)
    return Axis(10.0**low, 10.0 ** max(high, low + 1), start, end, log=True)


@dataclass
class Drawing:
    """An SVG under construction."""

    height: float
    width: float = WIDTH
    parts: list[str] = field(default_factory=list)

    def add(self, tag: str, text: str | None = None, *, tip: str | None = None, **attributes: object) -> None:
        """Add an element; a `tip` is what a pointer over it shows. Names take - for _, `kind` is its class."""
        content = escape(text) if text is not None else ""
        content += f"<title>{escape(tip)}</title>" if tip else ""
        named = "".join(f' {_attribute(name)}="{_value(value)}"' for name, value in attributes.items())
        self.parts.append(f"<{tag}{named}>{content}</{tag}>" if content else f"<{tag}{named}/>")

    def line(self, kind: str, *ends: float) -> None:
        """Add a straight line from x, y to x, y."""
        self.add("path", kind=kind, d="M{} {}L{} {}".format(*map(_value, ends)))

    def path(self, kind: str, points: Sequence[tuple[float, float]], *, tip: str | None = None) -> None:
        """Add a line through points."""
        if points:
            self.add("path", kind=kind, d="M" + "L".join(f"{_value(x)} {_value(y)}" for x, y in points), tip=tip)

    def text(self, kind: str, x: float, y: float, text: str) -> None:
        """Add a text; its class says how it is aligned."""
        self.add("text", text, kind=kind, x=x, y=y)

    def mark(self, kind: str, x: float, y: float, *, shape: int = 0, size: float = 4.0, tip: str | None = None) -> None:
        """Add a marker: 0 a disc, 1 a square, 2 a triangle, 3 a diamond."""
        if shape % 4 == 0:
            self.add("circle", kind=kind, cx=x, cy=y, r=size, tip=tip)
            return
        corners = _CORNERS[shape % 4]
        ends = "L".join(f"{_value(x + size * dx)} {_value(y + size * dy)}" for dx, dy in corners)
        self.add("path", kind=kind, d=f"M{ends}Z", tip=tip)

    def rows(self, scale: Axis, left: float, right: float, show: Callable[[float], str], about: int = 4) -> None:
        """Add the grid lines and names of a vertical axis."""
        for tick in scale.ticks(about):
            self.line("grid", left, scale(tick), right, scale(tick))
            self.text("tick end", left - 5, scale(tick) + 4, show(tick))

    def columns(self, scale: Axis, top: float, bottom: float, show: Callable[[float], str], about: int = 5) -> None:
        """Add the grid lines and names of a horizontal axis."""
        for tick in scale.ticks(about):
            self.line("grid", scale(tick), top, scale(tick), bottom)
            self.text("tick middle", scale(tick), bottom + 14, show(tick))

    def svg(self, alternative: str) -> str:
        """Return the SVG; `alternative` says in words what it shows."""
        box = f"0 0 {_value(self.width)} {_value(self.height)}"
        return f'<svg viewBox="{box}" role="img" aria-label="{escape(alternative)}">{"".join(self.parts)}</svg>'


class Names:
    """Puts short names beside marks where they cover no other; one without a place is left to the legend."""

    SIZE = 13.0  # units that a name takes

    def __init__(self, drawing: Drawing) -> None:
        self.drawing = drawing
        self._taken: list[tuple[float, float]] = []

    def put(self, x: float, y: float, name: str) -> None:
        """Name a mark."""
        for right, down in ((6.0, -6.0), (6.0, 15.0), (-6.0 - 7 * len(name), -6.0), (-6.0 - 7 * len(name), 15.0)):
            at = (x + right, y + down)
            if all(abs(at[0] - px) >= self.SIZE or abs(at[1] - py) >= self.SIZE for px, py in self._taken):
                self._taken.append(at)
                self.drawing.text("number", *at, name)
                return


_CORNERS = {
    1: ((-0.9, -0.9), (0.9, -0.9), (0.9, 0.9), (-0.9, 0.9)),
    2: ((0, -1.1), (1.1, 0.9), (-1.1, 0.9)),
    3: ((0, -1.2), (1.2, 0), (0, 1.2), (-1.2, 0)),
}


def _attribute(name: str) -> str:
    return "class" if name == "kind" else name.replace("_", "-")


def _value(value: object) -> str:
    return f"{value:.1f}".removesuffix(".0") if isinstance(value, float) else escape(str(value))
