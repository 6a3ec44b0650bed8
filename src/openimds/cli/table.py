"""Tables: drawn on a terminal, tab-separated columns for a pipe."""

import sys
from collections.abc import Callable, Iterable
from typing import Any, TypeAlias, TypeVar

import click

F = TypeVar("F", bound=Callable[..., Any])
Cell: TypeAlias = str | tuple[str, str]
"""A text, or a text and its style on a terminal."""


def json_instead_of(usual: str) -> Callable[[F], F]:
    """Return the `--json` option of a command; `usual` is its output without the option."""
    return click.option("--json", "is_json", is_flag=True, help=f"JSON instead of {usual}.")


def print_table(
    head: tuple[str, ...], rows: Iterable[tuple[Cell, ...]], folding: str | tuple[str, ...] = ""
) -> None:
    """Print a table; markup in a cell is printed as text.

    Guests write some of the cells, which must not style or hide anything.

    `folding` names the columns that wrap over several lines; the others are then never wrapped.
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
    """Tell whether stdout is a terminal."""
    return sys.stdout.isatty()
