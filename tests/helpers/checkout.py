"""The checkout that the tests are in: its commit, and what they leave behind in it."""

from __future__ import annotations

import subprocess
from pathlib import Path

ROOT = Path(__file__).parents[2]
WITHOUT_GIT = "0" * 40


def commit(folder: Path = ROOT) -> str:
    """Return the commit that is checked out, 40 zeros where there is no git."""
    told = _git("rev-parse", "HEAD", folder=folder)
    return WITHOUT_GIT if told is None else told.strip()


def has_uncommitted_changes(folder: Path = ROOT) -> bool | None:
    """Return whether a file that git tracks differs from its commit, None where there is no git."""
    told = _git("status", "--porcelain", "--untracked-files=no", folder=folder)
    return None if told is None else bool(told)


def untracked(folder: Path = ROOT) -> set[str]:
    """Return the files that git neither tracks nor ignores, none where there is no git."""
    told = _git("status", "--porcelain", "--untracked-files=all", "-z", folder=folder) or ""
    return {entry.removeprefix("?? ") for entry in told.split("\0") if entry.startswith("?? ")}


def left_behind(before: set[str], after: set[str]) -> list[str]:
    """Return the files that came between two looks; runs/ may fill."""
    return sorted(path for path in after - before if not path.startswith("runs/"))


def _git(*arguments: str, folder: Path) -> str | None:
    try:
        told = subprocess.run(["git", *arguments], cwd=folder, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return None
    return told.stdout
