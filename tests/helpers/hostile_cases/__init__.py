"""Hostile cases, made up by number: each group has `case(number, by, stock)`, the same for the same number and seed.

What has structure (values, texts, rows of tables) is drawn by hypothesis; where it goes, and what happens to bytes, is
drawn from the number. `FOUND` has what once broke the law, by name.
"""

from __future__ import annotations

from collections.abc import Callable

from hostile_cases import checkpoints, images, recipes, runs
from hostile_cases.case import Case, Stock
from hostile_cases.found import FOUND

__all__ = ["FOUND", "GROUPS"]
GROUPS: dict[str, Callable[[int, int, Stock], Case]] = {
    "recipes": recipes.case,
    "checkpoints": checkpoints.case,
    "images": images.case,
    "runs": runs.case,
}
