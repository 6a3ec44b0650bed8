"""The manual pages: every command is in them, and formatters take them."""

import re
import shutil
import subprocess
from pathlib import Path

import click
import pytest

from openimds.cli.main import COMMANDS, command
from openimds.settings import SETTINGS
from scripts import man_pages

PAGES = man_pages.pages()


def plain(text: str) -> str:
    """Return a page without the orders to its formatter."""
    return text.replace("\\-", "-").replace("\\:", "").replace("\\(aq", "'").replace("\\&", "")


def test_every_command_has_a_page() -> None:
    assert [*PAGES] == ["openimds.1", *(f"openimds-{row.name}.1" for row in COMMANDS)]


@pytest.mark.parametrize("name", [row.name for row in COMMANDS])
def test_page_has_every_option_and_subcommand(name: str) -> None:
    text = plain(PAGES[f"openimds-{name}.1"])

    def check(context: click.Context) -> None:
        for parameter in context.command.get_params(context):
            if isinstance(parameter, click.Option) and not parameter.hidden:
                assert all(option in text for option in parameter.opts)
        if isinstance(context.command, click.Group):
            for child in context.command.list_commands(context):
                found = context.command.get_command(context, child)
                assert found
                if not found.hidden:
                    check(click.Context(found, info_name=child, parent=context))
        else:
            assert context.command_path in text

    root = click.Context(command, info_name="openimds")
    found = command.get_command(root, name)
    assert found
    check(click.Context(found, info_name=name, parent=root))


def test_first_page_has_every_setting() -> None:
    text = plain(PAGES["openimds.1"])
    assert [row.variable for row in SETTINGS if f"\\fB{row.variable}\\fR" not in text] == []


def test_date_is_that_of_the_build(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1750000000")
    assert man_pages.pages()["openimds.1"].startswith('.TH OPENIMDS 1 2025-06-15 "OpenIMDS ')


def test_no_line_of_help_is_an_order_to_the_formatter() -> None:
    orders = {"TH", "SH", "SS", "PP", "TP", "BR", "nf", "fi", "nh", "ad"}
    for text in PAGES.values():
        assert set(re.findall(r"^\.(\w*)", text, re.MULTILINE)) <= orders
        assert "\n'" not in text


@pytest.mark.parametrize("name", PAGES)
def test_formatter_warns_of_nothing(name: str, tmp_path: Path) -> None:
    groff = shutil.which("groff")
    if not groff:
        pytest.skip("groff is not installed")
    (tmp_path / name).write_text(PAGES[name], "utf-8")
    words = [groff, "-man", "-Tutf8", "-ww", "-z", str(tmp_path / name)]
    ran = subprocess.run(words, capture_output=True, text=True, check=False, timeout=60)
    assert (ran.returncode, ran.stderr) == (0, "")
