"""Tables: drawn for a width in characters, or as tab-separated columns.

An id that is cut or broken over two lines cannot be copied. A table therefore wraps only the
columns that say so. Where the others do not fit side by side, each row becomes a record: a line for
each column, and a longer value is left to the terminal, which copies it whole.
"""

import os
import shutil
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Literal, NamedTuple, TypeAlias

import click

Cell: TypeAlias = str | tuple[str, str]
"""A text, or a text and its style on a terminal."""
Wrap: TypeAlias = Literal["", "words", "letters"]

_GAP = "  "
_NARROW = 12
"""The fewest characters of a column that wraps between letters."""
_STYLES: Mapping[str, str] = {"bold red": "1;31", "green": "32", "yellow": "33", "": ""}
"""The parameters of `ESC [ … m` by style."""


class Column(NamedTuple):
    """A column of a table.

    `cell` returns the cell of an item. `only` is the form that shows the column: by default both,
    else the usual `table`, or `wide`, which tab-separated columns follow. With `words` it wraps at
    spaces, with `letters` anywhere; the cells of the latter may have line breaks. `width` is its
    usual width, for rows that are printed as they come.
    """

    head: str
    cell: Callable[[Any], Cell]
    only: Literal["", "table", "wide"] = ""
    wrap: Wrap = ""
    width: int = 0


def member(head: str, key: str, only: Literal["", "table", "wide"] = "") -> Column:
    """Return the column of a member; an absent or null one is empty."""

    def cell(item: Mapping[str, Any]) -> str:
        value = item.get(key)
        return "" if value is None else str(value)

    return Column(head, cell, only)


def print_tsv(columns: Sequence[Column], items: Iterable[Any]) -> None:
    """Print items as tab-separated columns below their heads."""
    click.echo("\t".join(column.head for column in columns))
    for item in items:
        click.echo(tsv_line(columns, item))


def tsv_line(columns: Sequence[Column], item: object) -> str:
    """Return the tab-separated columns of an item.

    Control characters and the backslash are escaped, so that different texts stay different.
    """
    texts = (text_of(column.cell(item)) for column in columns)
    return "\t".join(printable(text.replace("\\", "\\\\")) for text in texts)


def print_table(columns: Sequence[Column], items: Iterable[Any]) -> None:
    """Print a table that fits the terminal, in color where it has some."""
    rows = [[column.cell(item) for column in columns] for item in items]
    for line in draw(columns, rows, shutil.get_terminal_size().columns):
        click.echo(line)


def draw(columns: Sequence[Column], rows: Sequence[Sequence[Cell]], width: int) -> Iterator[str]:
    """Yield the lines of a table of at most a width, or of records.

    Guests write some of the cells, which must not style or hide anything: control characters are
    escaped.
    """
    shown = [
        [_escaped(text_of(cell), column.wrap) for column, cell in zip(columns, row, strict=True)]
        for row in rows
    ]
    widths = _widths(columns, shown, width)
    if widths is None and rows:
        yield from _records(columns, rows, shown)
        return
    widths = widths or [_length(column.head) for column in columns]
    yield _joined((column.head for column in columns), widths)
    for row, texts in zip(rows, shown, strict=True):
        cells = [
            _wrapped(text, width, column.wrap)
            for column, text, width in zip(columns, texts, widths, strict=True)
        ]
        for number in range(max(map(len, cells))):
            pieces = [lines[number] if number < len(lines) else "" for lines in cells]
            yield _joined(pieces, widths, [_style(cell) for cell in row])


def _records(
    columns: Sequence[Column], rows: Sequence[Sequence[Cell]], shown: Sequence[Sequence[str]]
) -> Iterator[str]:
    """Yield a line for each cell, with an empty line between two rows."""
    longest = max(_length(column.head) for column in columns)
    for number, (row, texts) in enumerate(zip(rows, shown, strict=True)):
        if number:
            yield ""
        for column, cell, text in zip(columns, row, texts, strict=True):
            for place, line in enumerate(text.split("\n")):
                head = "" if place else column.head
                yield _joined((head, line), (longest, 0), ("", _style(cell)))


def _widths(
    columns: Sequence[Column], shown: Sequence[Sequence[str]], width: int
) -> list[int] | None:
    """Return the width of each column, or None where they do not fit."""
    natural, smallest = [], []
    for place, column in enumerate(columns):
        lines = [column.head, *(line for row in shown for line in row[place].split("\n"))]
        full = max(map(_length, lines))
        natural.append(full)
        if column.wrap == "words":
            smallest.append(max(_length(word) for line in lines for word in line.split(" ")))
        elif column.wrap == "letters":
            smallest.append(min(full, max(_NARROW, _length(column.head))))
        else:
            smallest.append(full)
    spare = width - sum(smallest) - len(_GAP) * (len(columns) - 1)
    if spare < 0:
        return None
    wanting = sorted(range(len(columns)), key=lambda place: natural[place] - smallest[place])
    for number, place in enumerate(wanting):
        more = min(natural[place] - smallest[place], spare // (len(columns) - number))
        smallest[place] += more
        spare -= more
    return smallest


def _wrapped(text: str, width: int, wrap: Wrap) -> list[str]:
    """Return the lines of a cell."""
    if not wrap:
        return [text]
    lines = []
    for line in text.split("\n"):
        current = ""
        pieces = line.split(" ") if wrap == "words" else line
        joint = " " if wrap == "words" else ""
        for number, piece in enumerate(pieces):
            longer = f"{current}{joint}{piece}" if number else piece
            if number and _length(longer) > width:
                lines.append(current)
                current = piece
            else:
                current = longer
        lines.append(current)
    return lines


def _joined(texts: Iterable[str], widths: Sequence[int], styles: Sequence[str] = ()) -> str:
    """Return cells side by side, padded and styled, without spaces at the end."""
    texts = [*texts]
    last = max((place for place, text in enumerate(texts) if text), default=-1)
    cells = []
    for place, text in enumerate(texts[: last + 1]):
        pad = " " * (widths[place] - _length(text)) if place < last else ""
        code = _STYLES[styles[place]] if styles and text else ""
        cells.append((f"\x1b[{code}m{text}\x1b[0m" if code and _has_color() else text) + pad)
    return _GAP.join(cells)


def _has_color() -> bool:
    return is_terminal() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def _length(text: str) -> int:
    """Return the number of a terminal's cells that a text takes."""
    if text.isascii():
        return len(text)
    from rich.cells import cell_len

    return cell_len(text)


def text_of(cell: Cell) -> str:
    """Return the text of a cell."""
    return cell if isinstance(cell, str) else cell[0]


def _style(cell: Cell) -> str:
    return "" if isinstance(cell, str) else cell[1]


def _escaped(text: str, wrap: Wrap) -> str:
    """Return a text with its control characters escaped, but for line breaks in `letters`."""
    return "\n".join(map(printable, text.split("\n"))) if wrap == "letters" else printable(text)


def printable(text: str) -> str:
    """Return a text with its control characters escaped, which must not style the terminal."""
    if text.isprintable():
        return text
    return "".join(
        char if char.isprintable() else char.encode("unicode_escape").decode() for char in text
    )


def is_terminal() -> bool:
    """Tell whether stdout is a terminal."""
    return sys.stdout.isatty()
