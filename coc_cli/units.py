"""Numbers and texts as a reader wants them: the same in every table, page and comment."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

LONGEST_NAME = 300  # characters, in a list of names


def count(value: float) -> str:
    """Format a number with three significant digits and a metric prefix: 2.61M."""
    for unit in ("", "k", "M", "G", "T"):
        if abs(value) < 999.5:  # noqa: PLR2004
            return f"{value:.3g}{unit}"
        value /= 1000
    return f"{value:.3g}P"


def metric_text(metric: str, value: float) -> str:
    """Format a metric's value: accuracy in percent, an error in its own unit."""
    return f"{value:.2%}" if metric == "accuracy" else f"{value:.4g}"


def percent(fraction: float) -> str:
    """Format a fraction in percent; what rounds to zero has no sign."""
    text = f"{fraction:.1%}"
    return text.removeprefix("-") if float(text[:-1]) == 0 else text


def duration(seconds: float) -> str:
    """Format a time in the unit that a reader would take: '45 s', '14 min', '3.2 h'."""
    if seconds < 100:  # noqa: PLR2004
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 100 * 60 else f"{seconds / 3600:.1f} h"


def counted(n: int, noun: str) -> str:
    """Format a number with its noun: '1 image', '2,000 images', '2 classes'."""
    many = noun + ("es" if noun.endswith("s") else "s")
    return f"{n:,} {noun if n == 1 else many}"


def named(names: Sequence[str], most: int = 5, *, total: int | None = None) -> str:
    """Join the first few names and say how many more there are, of a total if not all names are given."""
    count_ = len(names) if total is None else total
    more = f" and {count_ - most:,} more" if count_ > most else ""
    return ", ".join(clipped(name, LONGEST_NAME) for name in names[:most]) + more


def repeated(names: Iterable[str]) -> list[str]:
    """Return the names that are there more than once, sorted."""
    return sorted(name for name, times in Counter(names).items() if times > 1)


def printable(text: object) -> str:
    """Return a text in one line, without what would steer a terminal: whatever a stranger wrote, it is only shown."""
    return "".join(sign if sign.isprintable() else "?" for sign in str(text))


def spreadsheet_cell(value: object) -> object:
    """Return a cell of a csv: a text that a spreadsheet would compute gets an apostrophe, a number stays one."""
    return f"'{value}" if isinstance(value, str) and value.startswith(("=", "+", "-", "@", "\t", "\r")) else value


def clipped(text: str, longest: int = 40) -> str:
    """Return a text, or its beginning if it is longer."""
    return text if len(text) <= longest else f"{text[: longest - 3]}..."
