"""The forms of output: one pair of options and one renderer for all commands.

A list is a table on a terminal and tab-separated columns in a pipe; an object is the text of its
command. `--output` chooses another form, and `--json` is its short form for JSON. Lists in JSON and
YAML are bare arrays, and have all members, also those without a column.
"""

from collections.abc import Callable, Iterable, Sequence
from functools import wraps
from typing import Any, TypeVar, cast

import click
import msgspec

from openimds.cli import table
from openimds.cli.table import (
    Cell,
    Column,
    print_table,
    print_tsv,
    printable,
    text_of,
    tsv_line,
)

F = TypeVar("F", bound=Callable[..., Any])

FORMS = ("table", "wide", "json", "yaml", "tsv", "name")
_NAMELESS = FORMS[:-1]
_USUAL = "a table, or tsv in a pipe"


def output_options(usual: str = _USUAL, *, has_names: bool = True) -> Callable[[F], F]:
    """Return a decorator that adds `--output` and `--json`.

    The command gets `output`, one of `FORMS`, or nothing for its usual form.

    Args:
        usual: the output without the options, for the help.
        has_names: whether the items have names, which `--output name` prints.
    """
    forms = FORMS if has_names else _NAMELESS

    def decorate(function: F) -> F:
        @wraps(function)
        def call(*args: object, output: str | None, is_json: bool, **more: object) -> object:
            if is_json and output not in {None, "json"}:
                raise click.UsageError(f"--json does not go with --output {output}")
            return function(*args, output="json" if is_json else output or "", **more)

        short = click.option("--json", "is_json", is_flag=True, help="Short for --output json.")
        about = f"How to print it; default: {usual}."
        whole = click.option("--output", "output", type=click.Choice(forms), help=about)
        return cast("F", whole(short(call)))

    return decorate


def print_list(  # noqa: PLR0913 - each is a part of a form
    output: str,
    items: Iterable[Any],
    columns: Sequence[Column],
    name: str | Callable[[Any], Cell] = "name",
    *,
    usual: Callable[[], object] | None = None,
    whole: object = None,
) -> None:
    """Print a list in a form.

    Args:
        output: one of `FORMS`, or nothing for the usual form.
        items: JSON objects, or values that the columns can read.
        columns: those of tables and tab-separated columns.
        name: the member that `--output name` prints, or a function that returns it.
        usual: prints the usual form, where that is no table.
        whole: the JSON value, where that is not the array of items.
    """
    items = [*items]
    if not output and usual:
        usual()
    elif output in {"json", "yaml"}:
        print_value(output, items if whole is None else whole)
    elif output == "name":
        for item in items:
            click.echo(_name(item, name))
    elif output in {"table", "wide"} or (not output and table.is_terminal()):
        print_table(shown_in("wide" if output == "wide" else "table", columns), items)
    else:
        print_tsv(shown_in("wide", columns), items)


def print_object(
    output: str, value: object, usual: Callable[[], object], name: str | None = None
) -> None:
    """Print an object in a form; in a table each member is a row.

    Args:
        output: one of `FORMS`, or nothing for the usual form.
        value: the JSON object, or a struct.
        usual: prints the usual form.
        name: the name that `--output name` prints.
    """
    if not output:
        usual()
    elif output in {"json", "yaml"}:
        print_value(output, value)
    elif output == "name":
        click.echo(printable(name or ""))
    else:
        members = [*msgspec.to_builtins(value).items()]
        (print_tsv if output == "tsv" else print_table)(_MEMBERS, members)


def print_value(output: str, value: object) -> None:
    """Print a value as JSON in one line, or as YAML."""
    if output == "json":
        click.echo(msgspec.json.encode(value).decode())
    else:
        click.echo(_as_yaml(value), nl=False)


def print_stream(
    output: str,
    items: Iterable[Any],
    columns: Sequence[Column],
    name: str | Callable[[Any], Cell] = "name",
) -> None:
    """Print each item when it comes: as JSON, a YAML document, or columns.

    On a terminal each column has its usual width: later items are not known.
    """
    is_table = output in {"table", "wide"} or (not output and table.is_terminal())
    shown = shown_in("table" if is_table and output != "wide" else "wide", columns)
    if output not in {"json", "yaml", "name"}:
        line = "\t".join(column.head for column in shown)
        click.echo(_padded(shown, line) if is_table else line)
    for item in items:
        if output == "json":
            click.echo(msgspec.json.encode(item).decode())
        elif output == "yaml":
            click.echo("---\n" + _as_yaml(item), nl=False)
        elif output == "name":
            click.echo(_name(item, name))
        else:
            line = tsv_line(shown, item)
            click.echo(_padded(shown, line) if is_table else line)


def follow_stream(
    output: str,
    items: Iterable[Any],
    columns: Sequence[Column],
    name: str | Callable[[Any], Cell] = "name",
) -> None:
    """Print the items of a feed until Ctrl-C, or until the server ends it."""
    try:
        print_stream(output, items, columns, name)
    except KeyboardInterrupt:
        return
    click.echo(
        "the server has ended the feed: it is stopping, or this reader fell too far behind",
        err=True,
    )


def shown_in(form: str, columns: Iterable[Column]) -> list[Column]:
    """Return the columns of a form, `table` or `wide`."""
    return [column for column in columns if column.only in {"", form}]


def _name(item: Any, name: str | Callable[[Any], Cell]) -> str:  # noqa: ANN401 - any item
    return printable(item[name] if isinstance(name, str) else text_of(name(item)))


def _padded(columns: Sequence[Column], line: str) -> str:
    cells = line.split("\t")
    return "  ".join(
        cell.ljust(max(column.width, len(column.head)))
        for column, cell in zip(columns, cells, strict=True)
    ).rstrip()


def _as_yaml(value: object) -> str:
    from openimds.vm.yaml import dump

    return dump(msgspec.json.decode(msgspec.json.encode(value)))


def _value(pair: tuple[str, Any]) -> Cell:
    value = pair[1]
    return value if isinstance(value, str) else msgspec.json.encode(value).decode()


_MEMBERS = (Column("MEMBER", lambda pair: pair[0]), Column("VALUE", _value, wrap="letters"))
