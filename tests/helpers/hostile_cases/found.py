"""Cases by name: what once broke the law, each as small as it can be."""

from __future__ import annotations

from hostile_cases.case import Case, Sparse
from hostile_cases.recipes import CHAIN

FOUND = {
    "recipes: a key of a hundred thousand characters": Case(
        {"recipe.yaml": (CHAIN + "x" * 100_000 + ": 1\n").encode()}, ("plan", "recipe.yaml")
    ),
    "runs: a log of a terabyte": Case(
        {"runs/tiny/log.jsonl": Sparse(1 << 40), "runs/tiny/report.json": b"{}"}, ("report", "runs/tiny")
    ),
}
