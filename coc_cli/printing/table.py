"""Lines and tables in a terminal: one look for all, and nothing of a stranger's text steers it."""

from __future__ import annotations

from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from coc_cli.units import printable


class PlainTable(Table):
    """A table whose cells are shown as they are written."""

    def add_row(self, *cells: Any, **options: Any) -> None:
        """Add a row of texts."""
        super().add_row(*(Text(printable(cell)) for cell in cells), **options)


def table_of(title: str, *columns: str) -> Table:
    """Return an empty table; the first column is text, the others are numbers."""
    table = PlainTable(title=Text(printable(title)), title_justify="left")
    for index, column in enumerate(columns):
        table.add_column(column, justify="right" if index else "left", no_wrap=True)
    return table


def print_table(table: Table) -> None:
    """Print a table, wide where it does not go to a terminal."""
    console = Console()
    if not console.is_terminal:
        console = Console(width=140)
    console.print(table)


def print_line(text: str) -> None:
    """Print a line."""
    print(printable(text))
