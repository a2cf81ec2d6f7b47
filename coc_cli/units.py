"""Numbers as a reader wants them: the same in every table, page and comment."""

from __future__ import annotations

from collections.abc import Sequence


def count(value: float) -> str:
    """Return a number with three significant digits and a unit of a thousand: 2.61M."""
    for unit in ("", "k", "M", "G", "T"):
        if abs(value) < 999.5:  # noqa: PLR2004
            return f"{value:.3g}{unit}"
        value /= 1000
    return f"{value:.3g}P"


def shown(metric: str, value: float) -> str:
    """Return a metric's value as a reader wants it: accuracy in percent, an error in its own unit."""
    return f"{value:.2%}" if metric == "accuracy" else f"{value:.4g}"


def percent(share: float) -> str:
    """Return a share in percent; what rounds to nothing has no sign."""
    text = f"{share:.1%}"
    return text.removeprefix("-") if float(text[:-1]) == 0 else text


def counted(n: int, noun: str) -> str:
    """Return a number with its noun: '1 image', '2,000 images', '2 classes'."""
    many = noun + ("es" if noun.endswith("s") else "s")
    return f"{n:,} {noun if n == 1 else many}"


def named(names: Sequence[str], most: int = 5) -> str:
    """Return the first few names and how many more there are."""
    more = f" and {len(names) - most:,} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more
