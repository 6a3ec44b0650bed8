"""The forms of output, the same for every command."""

import json
import sys
from collections.abc import Callable, Iterator

import click
import pytest
import yaml

from openimds.cli import output, table
from openimds.cli.main import COMMANDS, command
from openimds.cli.output import FORMS, output_options, print_list, print_object, print_stream
from openimds.cli.table import Column, member
from tests.unit.cli.runner import CliRunner

ITEMS = [
    {"name": "web-1", "id": "1e3", "more": {"on": True, "no": "no"}},
    {"name": "b\nc", "id": None, "more": {"text": "ä: - x" * 40}},
]
COLUMNS = (
    member("NAME", "name"),
    Column("SHORT", lambda item: str(item["id"])[:1], "table", width=7),
    member("ID", "id", "wide"),
)
Run = Callable[..., str]


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    def call(function: Callable[..., None], *args: object, **named: object) -> str:
        function(*args, **named)
        return capsys.readouterr().out

    return call


def test_list_in_each_form(run: Run) -> None:
    tsv = "NAME\tID\nweb-1\t1e3\nb\\nc\t\n"
    assert run(print_list, "tsv", ITEMS, COLUMNS) == tsv
    assert run(print_list, "", ITEMS, COLUMNS) == tsv
    assert run(print_list, "table", ITEMS, COLUMNS) == "NAME   SHORT\nweb-1  1\nb\\nc   N\n"
    assert run(print_list, "wide", ITEMS, COLUMNS) == "NAME   ID\nweb-1  1e3\nb\\nc\n"
    assert run(print_list, "name", ITEMS, COLUMNS) == "web-1\nb\\nc\n"
    assert run(print_list, "name", ITEMS, COLUMNS, COLUMNS[1].cell) == "1\nN\n"
    assert json.loads(run(print_list, "json", ITEMS, COLUMNS)) == ITEMS
    printed = run(print_list, "yaml", ITEMS, COLUMNS)
    assert yaml.safe_load(printed) == ITEMS
    assert printed.startswith("- name: web-1\n  id: 1e3\n")
    assert json.loads(run(print_list, "json", ITEMS, COLUMNS, whole={"a": 1})) == {"a": 1}


def test_terminal_gets_a_table(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    monkeypatch.setenv("COLUMNS", "80")
    assert run(print_list, "", ITEMS, COLUMNS).startswith("NAME   SHORT\n")
    assert run(print_stream, "", ITEMS, COLUMNS) == "NAME  SHORT\nweb-1  1\nb\\nc  N\n"


def test_usual_form_of_a_command_comes_first(run: Run) -> None:
    def usual() -> None:
        click.echo("usual")

    assert run(print_list, "", ITEMS, COLUMNS, usual=usual) == "usual\n"
    assert run(print_list, "name", ITEMS, COLUMNS, usual=usual) == "web-1\nb\\nc\n"
    assert run(print_object, "", ITEMS[0], usual) == "usual\n"


def test_object_in_each_form(run: Run) -> None:
    one = ITEMS[0]
    members = ["name\tweb-1", "id\t1e3", 'more\t{"on":true,"no":"no"}']
    assert run(print_object, "tsv", one, print).splitlines() == ["MEMBER\tVALUE", *members]
    for form in ("table", "wide"):
        drawn = run(print_object, form, one, print).splitlines()
        assert [line.split() for line in drawn[:2]] == [["MEMBER", "VALUE"], ["name", "web-1"]]
    assert run(print_object, "name", one, print, "web-1") == "web-1\n"
    assert json.loads(run(print_object, "json", one, print)) == one
    assert yaml.safe_load(run(print_object, "yaml", one, print)) == one
    assert run(output.print_value, "yaml", "x") == "x\n"


def test_stream_prints_each_item_as_it_comes(run: Run) -> None:
    assert run(print_stream, "", ITEMS, COLUMNS) == "NAME\tID\nweb-1\t1e3\nb\\nc\t\n"
    assert run(print_stream, "wide", ITEMS[:1], COLUMNS) == "NAME  ID\nweb-1  1e3\n"
    assert run(print_stream, "name", ITEMS, COLUMNS) == "web-1\nb\\nc\n"
    printed = run(print_stream, "json", ITEMS, COLUMNS).splitlines()
    assert [json.loads(line) for line in printed] == ITEMS
    assert [*yaml.safe_load_all(run(print_stream, "yaml", ITEMS, COLUMNS))] == ITEMS


def test_options_give_one_form() -> None:
    @click.command()
    @output_options()
    @click.option("--state")
    def shown(*, output: str, state: str) -> None:
        click.echo(f"[{output}] {state}")

    def call(*arguments: str) -> str:
        got = CliRunner().invoke(shown, arguments)
        return got.stdout + got.stderr

    assert call("--state", "s") == "[] s\n"
    assert call("--json") == "[json] None\n"
    assert call("--json", "--output", "json") == "[json] None\n"
    assert call("--output", "wide") == "[wide] None\n"
    assert "--json does not go with --output yaml" in call("--json", "--output", "yaml")
    assert "'table', 'wide', 'json', 'yaml', 'tsv', 'name'" in call("--output", "xml")


def commands(group: click.Group) -> Iterator[click.Command]:
    context = click.Context(group)
    for name in group.list_commands(context):
        found = group.get_command(context, name)
        assert found
        if isinstance(found, click.Group):
            yield from commands(found)
        else:
            yield found


def test_every_json_option_has_the_other_forms() -> None:
    every = [*commands(command)]
    assert len(every) > len(COMMANDS)
    seen = 0
    for one in every:
        options = {text: option for option in one.params for text in option.opts}
        if "--json" in options:
            choice = options["--output"].type
            assert isinstance(choice, click.Choice)
            assert {*choice.choices} >= {*FORMS} - {"name"}
            seen += 1
    assert seen > 20
    assert table.is_terminal() is False
