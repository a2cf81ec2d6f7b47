"""Running many hostile cases: how each group ended, what took the most, and the files of those that break the law."""

from __future__ import annotations

import random
import shutil
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from forked import Ended, Server

from hostile_cases import GROUPS
from hostile_cases.case import Case, Stock, run_case
from hostile_cases.checkpoints import mutant

MUTANTS = "mutants"


@dataclass
class Tally:
    """What a group of cases came to."""

    codes: Counter[str] = field(default_factory=Counter)  # 'plan 2': cases
    cases: int = 0
    memory_bytes: int = 0  # the most that one took
    cpu_seconds: float = 0.0
    failures: list[str] = field(default_factory=list)

    def note(self, case: Case, ended: Ended) -> None:
        """Note how a case ended."""
        self.codes[f"{case.verb} {ended.code}"] += 1
        self.memory_bytes = max(self.memory_bytes, ended.memory_bytes)
        self.cpu_seconds = max(self.cpu_seconds, ended.cpu_seconds)

    def as_json(self) -> dict[str, Any]:
        """Return it as a record has it."""
        return {
            "cases": self.cases,
            "failures": self.failures,
            "endings": dict(sorted(self.codes.items())),
            "most_memory_mb": round(self.memory_bytes / 1e6, 1),
            "most_cpu_s": round(self.cpu_seconds, 2),
        }


def cases_of(group: str, number: int, by: int, stock: Stock) -> list[Case]:
    """Return the cases of a number: one, or three of a mutant, which three commands read."""
    if group != MUTANTS:
        return [GROUPS[group](number, by, stock)]
    content = mutant(stock.checkpoint.read_bytes(), random.Random(f"{by} {number}"))
    run = "runs/tiny/model.safetensors"
    files = {name: body for name, body in stock.finished.items() if "/.cache/" not in name}
    return [
        Case({"it.safetensors": content}, ("it.safetensors",), "answers", frozenset((stock.answers,))),
        Case({"it.safetensors": content}, ("inspect", "it.safetensors")),
        Case({**files, run: content}, ("report", "runs/tiny")),
    ]


def run_group(group: str, numbers: Iterable[int], by: int, *, stock: Stock, server: Server, kept: Path) -> Tally:
    """Run the cases of a group; the files of one that breaks the law are kept in a folder, and named."""
    tally, place = Tally(), stock.folder / f"place-{group}"
    for number in numbers:
        try:
            for case in cases_of(group, number, by, stock):
                tally.cases += 1
                tally.note(case, run_case(case, server, place))
        except Exception as error:  # noqa: BLE001, PERF203  (also one in making it up)
            at = kept / f"{group}-{number}"
            shutil.rmtree(at, ignore_errors=True)
            if place.is_dir():
                shutil.copytree(place, at, symlinks=True, ignore=_pipes)
            tally.failures.append(f"{group} {number} by {by}, kept in {at}: {type(error).__name__}: {error}")
    shutil.rmtree(place, ignore_errors=True)
    return tally


def _pipes(folder: str, names: list[str]) -> list[str]:
    """Return what is no file or folder, which nobody can copy, and what is too large to keep."""
    paths = [Path(folder) / name for name in names]
    return [path.name for path in paths if path.is_fifo() or (path.is_file() and path.stat().st_size > 100_000_000)]
