"""Numbers as a reader wants them: the same in every table, page and comment."""

from __future__ import annotations


def count(value: float) -> str:
    """Give a number with three significant digits and a unit of a thousand: 2.61M."""
    for unit in ("", "k", "M", "G", "T"):
        if abs(value) < 999.5:  # noqa: PLR2004
            return f"{value:.3g}{unit}"
        value /= 1000
    return f"{value:.3g}P"


def shown(metric: str, value: float) -> str:
    """Give a metric's value as a reader wants it: accuracy in percent, an error in its own unit."""
    return f"{value:.2%}" if metric == "accuracy" else f"{value:.4g}"


def percent(share: float) -> str:
    """Give a share in percent; what rounds to nothing has no sign."""
    text = f"{share:.1%}"
    return text.removeprefix("-") if float(text[:-1]) == 0 else text
