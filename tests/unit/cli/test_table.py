"""Tables for a pipe and for a terminal."""

import re
import sys

import pytest

from openimds.cli import table


def test_pipe_gets_plain_columns(capsys: pytest.CaptureFixture[str]) -> None:
    table.print_table(("A", "B"), [("1", ("x", "bold red")), ("", "[bold]y")])
    assert capsys.readouterr().out == "A\tB\n1\tx\n\t[bold]y\n"


def test_markup_in_a_cell_is_printed_as_text(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    table.print_table(("NAME", "KIND"), [("[red]", "[/x]"), ("b", ("forged", "bold red"))])
    printed = capsys.readouterr().out
    assert "\x1b[1;31mforged" in printed
    lines = [line.split() for line in re.sub(r"\x1b\[[\d;]*m", "", printed).splitlines()]
    assert lines == [["NAME", "KIND"], ["[red]", "[/x]"], ["b", "forged"]]


def test_folding_column_leaves_the_others_whole(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "24")
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    table.print_table(("RULE", "REQUEST"), [("leaf_needs_text", "0123456789")], "REQUEST")
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert lines[1:] == [["leaf_needs_text", "0123456"], ["789"]]
