"""Tables in a terminal: one look for all."""

from __future__ import annotations

from rich.console import Console
from rich.table import Table


def table_of(title: str, *columns: str) -> Table:
    """Return an empty table; the first column is text, the others are numbers."""
    table = Table(title=title, title_justify="left")
    for index, column in enumerate(columns):
        table.add_column(column, justify="right" if index else "left", no_wrap=True)
    return table


def print_table(table: Table) -> None:
    """Print a table, wide where it does not go to a terminal."""
    console = Console()
    if not console.is_terminal:
        console = Console(width=140)
    console.print(table)
