"""`pytest --record FILE`: which cases ran, how many passed, on which commit, versions and machine, in how many seconds."""

from __future__ import annotations

import json
import os
import platform
import time
from collections import Counter
from datetime import datetime, timezone
from importlib.metadata import version
from pathlib import Path
from typing import Any

import checkout
import pytest
import sampling

__all__ = ["pytest_addoption", "pytest_collection_modifyitems", "pytest_configure", "pytest_report_header"]
LIBRARIES = ("coc-cli", "torch", "torchvision", "timm", "torch-pruning", "numpy", "scipy", "hypothesis", "pytest")


def machine() -> dict[str, Any]:
    """Return what this machine is called, and its cores."""
    from coc_cli.profiling.machine import processor_name

    return {"processor": processor_name(), "cores": os.cpu_count(), "platform": platform.platform()}


def versions() -> dict[str, str | None]:
    """Return the versions of Python and of the libraries, None for one that is not installed."""
    return {"python": platform.python_version(), **{name: _version(name) for name in LIBRARIES}}


def provenance() -> dict[str, Any]:
    """Return what every record says of where it comes from: commit, machine and versions."""
    return {
        "commit": checkout.commit(),
        "uncommitted_changes": checkout.has_uncommitted_changes(),
        "machine": machine(),
        "versions": versions(),
    }


def _version(name: str) -> str | None:
    try:
        return version(name)
    except ModuleNotFoundError:
        return None


class Recorder:
    """Collects how each case ended and writes it all to a file at the end of the session."""

    def __init__(self, file: Path, selected: str) -> None:
        self.file = file
        self.selected = selected
        self.outcomes: dict[str, str] = {}
        self.began = time.monotonic()

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Note a case: failed if any of set-up, call and tear-down did, else what the call was."""
        if report.when == "call" or report.outcome != "passed":
            worst = "failed" if "failed" in (report.outcome, self.outcomes.get(report.nodeid)) else report.outcome
            self.outcomes[report.nodeid] = worst

    def pytest_sessionfinish(self) -> None:
        """Write the record."""
        self.file.parent.mkdir(parents=True, exist_ok=True)
        self.file.write_text(json.dumps(self.record(), indent=1) + "\n")

    def record(self) -> dict[str, Any]:
        """Return what the file holds."""
        totals = Counter(self.outcomes.values())
        return {
            "selected": self.selected,
            **provenance(),
            "date": datetime.now(timezone.utc).date().isoformat(),
            "seconds": round(time.monotonic() - self.began, 1),
            "totals": {name: totals[name] for name in ("passed", "failed", "skipped")},
            "tests": self._tests(),
        }

    def _tests(self) -> dict[str, dict[str, Any]]:
        """Return, by test function, how its cases ended; those that did not pass by name."""
        tests: dict[str, dict[str, Any]] = {}
        for nodeid, outcome in sorted(self.outcomes.items()):
            function, _, case = nodeid.partition("[")
            entry = tests.setdefault(function, {"passed": 0, "failed": [], "skipped": [], "cases": []})
            name = case.removesuffix("]")
            entry["cases"] += [name] if name else []
            entry["passed"] += outcome == "passed"
            if outcome != "passed":
                entry[outcome].append(name)
        return tests


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the option."""
    parser.addoption("--record", metavar="FILE", type=Path, help="write which cases ran and how they ended as JSON")


def pytest_configure(config: pytest.Config) -> None:
    """Record if asked to."""
    is_worker = hasattr(config, "workerinput")  # of several processes, the one that hears of all tests writes
    if (file := config.getoption("--record")) is not None and not is_worker:
        config.pluginmanager.register(Recorder(file.absolute(), config.getoption("markexpr")))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Refuse a case that two tiers would run."""
    for item in items:
        if {"quick", "full"} <= {mark.name for mark in item.iter_markers()}:
            raise pytest.UsageError(f"{item.nodeid} is in the quick and in the full tier")


def pytest_report_header() -> str:
    """Say what the samples of this run turn with."""
    return f"samples: seed {sampling.seed()}, of commit {checkout.commit()[:12]}"
