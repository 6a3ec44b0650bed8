"""Tables of the commands: drawn on a terminal, plain columns for a pipe."""

import sys
from collections.abc import Callable, Iterable
from typing import Any, TypeAlias, TypeVar

import click

F = TypeVar("F", bound=Callable[..., Any])
Cell: TypeAlias = str | tuple[str, str]
"""A text, or a text and the style that it has on a terminal."""


def json_instead_of(shown: str) -> Callable[[F], F]:
    """Return the option of every command that prints data; `shown` is what it prints else."""
    return click.option("--json", "is_json", is_flag=True, help=f"JSON instead of {shown}.")


def print_table(
    head: tuple[str, ...], rows: Iterable[tuple[Cell, ...]], folding: str | tuple[str, ...] = ""
) -> None:
    """Print a table; no text in it is taken for a style, whoever wrote it.

    Where columns are `folding`, they take the lines that they need, and no other one does.
    """
    if not is_terminal():
        for row in (head, *rows):
            click.echo("\t".join(cell if isinstance(cell, str) else cell[0] for cell in row))
        return
    from rich.console import Console, OverflowMethod
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False)
    for name in head:
        is_folding = name in ((folding,) if isinstance(folding, str) else folding)
        overflow: OverflowMethod = "fold" if is_folding else "ellipsis"
        table.add_column(name, overflow=overflow, no_wrap=bool(folding) and not is_folding)
    for row in rows:
        table.add_row(*(Text(cell) if isinstance(cell, str) else Text(*cell) for cell in row))
    Console().print(table)


def is_terminal() -> bool:
    """Tell whether a person looks at stdout."""
    return sys.stdout.isatty()
