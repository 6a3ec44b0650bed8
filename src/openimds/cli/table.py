"""Tables of the commands: drawn on a terminal, plain columns for a pipe."""

import sys
from collections.abc import Iterable
from typing import TypeAlias

import click

Cell: TypeAlias = str | tuple[str, str]
"""A text, or a text and the style that it has on a terminal."""


def print_table(head: tuple[str, ...], rows: Iterable[tuple[Cell, ...]]) -> None:
    """Print a table; no text in it is taken for a style, whoever wrote it."""
    if not is_terminal():
        for row in (head, *rows):
            click.echo("\t".join(cell if isinstance(cell, str) else cell[0] for cell in row))
        return
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(*head, box=None, pad_edge=False)
    for row in rows:
        table.add_row(*(Text(cell) if isinstance(cell, str) else Text(*cell) for cell in row))
    Console().print(table)


def is_terminal() -> bool:
    """Tell whether a person looks at stdout."""
    return sys.stdout.isatty()
