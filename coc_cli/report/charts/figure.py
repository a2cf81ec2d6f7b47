"""What every figure has: the drawing, a caption, a legend, and its numbers as a table for who cannot see it."""

from __future__ import annotations

from dataclasses import dataclass

COLOURS = 8  # the style sheet has s1 to s8
KINDS = {"baseline": "s7", "distill": "s1", "prune": "s3", "quantize": "s4", "early_exit": "s2"}


@dataclass(frozen=True)
class Key:
    """An entry of a legend: the class of its colour, the shape of its marker, and what it stands for."""

    kind: str
    shape: str  # a character
    name: str


@dataclass(frozen=True)
class Table:
    """Rows under a head; the first cell of each is its name."""

    head: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


@dataclass(frozen=True)
class Figure:
    """A drawing with all that belongs to it."""

    title: str
    svg: str
    caption: str
    legend: tuple[Key, ...] = ()
    table: Table | None = None
    is_tall: bool = False  # scrolls in its own box


SHAPES = "●■▲◆"


def colour(index: int) -> str:
    """Return the class of the colour of something by its place."""
    return f"s{index % COLOURS + 1}"


def kind(name: str) -> str:
    """Return the class of the colour of a stage."""
    return KINDS.get(name, "s5")
