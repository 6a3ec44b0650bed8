"""Tables for a pipe and for a terminal."""

import re
import sys

import pytest

from openimds.cli import table
from openimds.cli.table import Cell, Column, Wrap

Row = tuple[Cell, ...]


def columns(*heads: str, wraps: dict[str, Wrap] | None = None) -> list[Column]:
    """Return the columns of rows that are tuples."""
    return [
        Column(head, lambda row, at=at: row[at], wrap=(wraps or {}).get(head, ""))  # type: ignore[misc]
        for at, head in enumerate(heads)
    ]


def lines(width: int, cells: list[Column], *rows: Row) -> list[str]:
    return [*table.draw(cells, rows, width)]


def test_pipe_gets_plain_columns(capsys: pytest.CaptureFixture[str]) -> None:
    table.print_tsv(columns("A", "B"), [("1", ("x", "bold red")), ("", "[bold]\ty\n")])
    assert capsys.readouterr().out == "A\tB\n1\tx\n\t[bold]\\ty\\n\n"


def test_tsv_keeps_a_backslash_apart_from_a_tab() -> None:
    lines = {table.tsv_line(columns("A"), (text,)) for text in ("a\tb", "a\\tb", "a\\\tb")}
    assert lines == {r"a\tb", r"a\\tb", r"a\\\tb"}


@pytest.mark.parametrize(
    "variable, value, style",
    [("TERM", "xterm", "\x1b[1;31m"), ("TERM", "dumb", ""), ("NO_COLOR", "1", "")],
)
def test_terminal_gets_a_style_where_it_has_color(
    variable: str,
    value: str,
    style: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv(variable, value)
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    cells = columns("NAME", "KIND", "END")
    table.print_table(cells, [("[red]", "\x1b[2J", "z"), ("b", ("forged", "bold red"), "z")])
    printed = capsys.readouterr().out
    assert f"{style}forged" in printed
    assert re.sub(r"\x1b\[[\d;]*m", "", printed).splitlines() == [
        "NAME   KIND     END",
        r"[red]  \x1b[2J  z",
        "b      forged   z",
    ]


def test_wrapping_column_leaves_the_others_whole() -> None:
    cells = columns("RULE", "REQUEST", wraps={"REQUEST": "letters"})
    assert lines(29, cells, ("leaf_needs_text", "0123456789abcdef\nxy")) == [
        "RULE             REQUEST",
        "leaf_needs_text  0123456789ab",
        "                 cdef",
        "                 xy",
    ]


def test_words_are_never_broken() -> None:
    cells = columns("A", "VMS", "B", wraps={"VMS": "words"})
    assert lines(13, cells, ("1", "web-1, web-20, c", "2")) == [
        "A  VMS      B",
        "1  web-1,   2",
        "   web-20,",
        "   c",
    ]
    assert lines(12, cells, ("1", "web-1, web-20, c", "2")) == [
        "A    1",
        "VMS  web-1, web-20, c",
        "B    2",
    ]


def test_two_wrapping_columns_share_the_width() -> None:
    cells = columns("A", "B", wraps={"A": "words", "B": "words"})
    assert lines(16, cells, ("a a a a a a", "b b")) == ["A            B", "a a a a a a  b b"]
    assert lines(10, cells, ("a a a a a a", "b b b b b")) == [
        *("A     B", "a a   b b", "a a   b b", "a a   b"),
    ]


def test_rows_without_room_become_records() -> None:
    cells = columns("NAME", "ID", wraps={"ID": "letters"})
    assert lines(10, cells, ("web-1", ("x" * 12, "green")), ("b", "y\nz")) == [
        "NAME  web-1",
        f"ID    {'x' * 12}",
        "",
        "NAME  b",
        "ID    y",
        "      z",
    ]


def test_table_without_rows_is_its_head() -> None:
    assert lines(3, columns("NAME", "ID")) == ["NAME  ID"]
    assert lines(30, columns("NAME", "ID")) == ["NAME  ID"]


def test_wide_letters_count_twice() -> None:
    assert lines(30, columns("A", "B"), ("日本", "x"), ("abcd", "y")) == [
        *("A     B", "日本  x", "abcd  y"),
    ]


def test_member_that_is_null_or_absent_is_empty() -> None:
    cell = table.member("ID", "id").cell
    assert [cell(item) for item in ({"id": 7}, {"id": None}, {})] == ["7", "", ""]
