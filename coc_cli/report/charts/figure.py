"""What every figure has: the drawing, a caption, a legend, and its numbers as a table for who cannot see it."""

from __future__ import annotations

from dataclasses import dataclass

from coc_cli.stages import STAGES

COLOURS = 8  # the style sheet has s1 to s8
BASELINE_COLOUR = "s7"
STAGE_COLOURS = ("s1", "s3", "s4", "s2", "s5", "s6", "s8")  # in the registry's order


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


def kind(stage: str) -> str:
    """Return the class of the colour of a stage: its place in the registry; the baseline has one of its own."""
    names = list(STAGES)
    return STAGE_COLOURS[names.index(stage) % len(STAGE_COLOURS)] if stage in names else BASELINE_COLOUR
