"""Every way a run can end, and every error a user can meet."""

from __future__ import annotations

import difflib
import errno
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import IntEnum

from coc_cli.units import clipped, printable

MOST_FAULTS = 20  # that are shown
MOST_NAMED = 10  # candidates
LONGEST_LINE = 4_000  # characters of one

_ROOM, _RIGHTS = "free some space there, or run coc on another disk", "choose a place that coc may read and write"
_REMEDIES = {
    errno.ENOSPC: _ROOM,
    errno.EDQUOT: _ROOM,
    errno.EFBIG: "raise the limit of file sizes (ulimit -f)",
    errno.EMFILE: "raise the limit of open files (ulimit -n)",
    errno.EROFS: _RIGHTS,
    errno.EACCES: _RIGHTS,
    errno.EPERM: _RIGHTS,
    errno.EISDIR: "a folder is where a file should be; move it away",
    errno.ENOTEMPTY: "a folder is where a file should be; move it away",
    errno.ENOTDIR: "a file is where a folder should be; move it away",
    errno.EEXIST: "a file is where a folder should be; move it away",
    errno.ENOENT: "it was removed while coc was at work; run the same command again",
    errno.ENAMETOOLONG: "give it a shorter name",
}


class ExitCode(IntEnum):
    """What the process answers with; part of the contract."""

    DONE = 0
    FAILED = 1  # the run itself went wrong
    USAGE = 2  # recipe, file or argument wrong; said before any work
    LIMIT_MISSED = 3  # the run is done, but a limit of the recipe is not met
    INTERRUPTED = 130  # resumable: the same command goes on


@dataclass(frozen=True)
class Fault:
    """One thing that is wrong: where it is, what it is and what to do instead."""

    where: str
    what: str

    def __str__(self) -> str:
        return clipped(printable(f"{self.where}: {self.what}"), LONGEST_LINE)


class CocError(Exception):
    """Base of every error that is printed without a traceback."""

    exit_code = ExitCode.FAILED


class RunError(CocError):
    """A valid run failed on the way."""


class UserError(CocError):
    """Something the user wrote or passed cannot work; holds *all* the faults, in file order."""

    exit_code = ExitCode.USAGE

    def __init__(self, faults: Iterable[Fault]) -> None:
        self.faults = tuple(faults)
        lines = [str(fault) for fault in self.faults[:MOST_FAULTS]]
        more = len(self.faults) - len(lines)
        super().__init__("\n".join([*lines, f"and {more:,} more"] if more else lines))


class StageError(Exception):
    """A stage cannot be applied to its input network; the plan adds the file and the line."""

    def __init__(self, what: str, key: str | None = None) -> None:
        self.what, self.key = what, key
        super().__init__(what)

    @property
    def parts(self) -> tuple[tuple[str | None, str], ...]:
        """Every single thing that is wrong, with its key."""
        return ((self.key, self.what),)


class DataError(StageError):
    """Images or a table cannot be used; holds everything that is wrong, each with its key in the recipe's `data`."""

    def __init__(self, problems: Sequence[tuple[str, str]]) -> None:
        self.problems = tuple(problems)
        super().__init__("; ".join(what for _, what in problems), problems[0][0])

    @property
    def parts(self) -> tuple[tuple[str | None, str], ...]:
        """Every single thing that is wrong, with its key."""
        return self.problems


def environment_error(error: OSError) -> CocError:
    """Return what the system refused in plain words: the file, why, and what to do."""
    where = error.filename if error.filename is not None else "a file"
    what, remedy = error.strerror or type(error).__name__, _REMEDIES.get(error.errno or 0)
    what = f"{what}; {remedy}" if remedy else what
    if error.errno == errno.ENAMETOOLONG:  # no name that coc makes is
        return user_error(clipped(str(where)), what)
    return RunError(f"{where}: {what}")


def user_error(where: object, what: str) -> UserError:
    """Return the error that holds a single fault."""
    return UserError([Fault(str(where), what)])


def first_line(error: BaseException) -> str:
    """Return the first line of an error's text; its class where it has none."""
    return (str(error).splitlines() or [type(error).__name__])[0]


def at_key(key: str, problems: Iterable[str]) -> list[tuple[str, str]]:
    """Return each problem paired with the key of the recipe's `data` that it belongs to."""
    return [(key, problem) for problem in problems]


def raise_if_any(problems: Sequence[tuple[str, str]]) -> None:
    """Raise one `DataError` that holds every problem, each with its key, if there are any."""
    if problems:
        raise DataError(problems)


def pattern_fault(pattern: str) -> str | None:
    """Return what is wrong with a regular expression, if anything is."""
    try:
        re.compile(pattern)
    except re.error as error:
        return f"is not a regular expression: {error}"
    return None


def did_you_mean(word: str, candidates: Iterable[str], *, otherwise: str = "known", most: int = MOST_NAMED) -> str:
    """Return the end of a message: the candidate nearest to a word, or the list of all.

    Of more candidates than `most` only the nearest are listed, that many.
    """
    names = sorted(candidates)
    near = difflib.get_close_matches(word, names, n=3, cutoff=0.6)
    if not names:
        return "there are none"
    if not near and len(names) > most:
        near = sorted(names, key=lambda name: -difflib.SequenceMatcher(None, word, name[: len(word)]).ratio())
        return f"the nearest of {len(names):,} are {', '.join(near[:most])}"
    if not near:
        return f"{otherwise}: {', '.join(names)}"
    nearest = max(near, key=lambda name: sum(a == b for a, b in zip(name, word, strict=False)))
    return f"did you mean '{nearest}'?"
