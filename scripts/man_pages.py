"""Write the manual pages of `openimds` from the help of its commands.

    man_pages.py FOLDER     one page for each command, with its subcommands: openimds-vm.1

Equal help gives equal bytes; the date is that of the build.
"""

import sys
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from inspect import cleandoc
from itertools import groupby
from pathlib import Path

import click

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))  # It may be run as a file.

from openimds.cli.main import command  # noqa: E402 - see above
from openimds.settings import CONFIG_VARIABLE, FILE_NAME, SETTINGS  # noqa: E402
from scripts.build_steps import epoch, version  # noqa: E402

NAME = "openimds"
_FILES = {
    f"./{FILE_NAME}": f"Settings, where the command runs; ${CONFIG_VARIABLE} names another file.",
    "/etc/openimds": "The folder of the services' settings and fleet file.",
    "/var/lib/openimds": "The state of openimds.service.",
    "/var/lib/openimds-control": "The state of openimds-control.service.",
    "/var/lib/openimds-host": "The state of openimds-fleet-host.service.",
    "/usr/share/doc/openimds": "Licences, changes, and examples of settings.",
}


def main() -> None:
    """Write the pages into the folder that the command line names."""
    folder = Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in pages().items():
        (folder / name).write_text(text, "utf-8")


def pages() -> dict[str, str]:
    """Return the text of each page by its file name."""
    root = click.Context(command, info_name=NAME, **command.context_settings)
    found = {f"{NAME}.1": "\n".join(_first_page(root)) + "\n"}
    for child in _children(root):
        name = f"{NAME}-{child.info_name}"
        found[f"{name}.1"] = "\n".join(_page(name, child)) + "\n"
    return found


def _first_page(root: click.Context) -> Iterator[str]:
    children = list(_children(root))
    yield from _heading(NAME, "serve the Azure Instance Metadata Service")
    yield from _synopsis(root)
    yield ".SH DESCRIPTION"
    yield from _paragraphs(root.command.help or "")
    yield ".SH COMMANDS"
    for child in children:
        yield from _entry(f"{NAME}-{child.info_name}(1)", _short(child))
    yield from _options(root, ".SH OPTIONS")
    yield ".SH ENVIRONMENT"
    for setting in SETTINGS:
        yield from _entry(setting.variable, setting.help)
    yield ".SH FILES"
    for path, text in _FILES.items():
        yield from _entry(path, text)
    yield from _see_also(f"{NAME}-{child.info_name}" for child in children)


def _page(name: str, context: click.Context) -> Iterator[str]:
    yield from _heading(name, _short(context).rstrip("."))
    yield from _synopsis(context)
    yield ".SH DESCRIPTION"
    yield from _paragraphs(context.command.help or "")
    yield from _options(context, ".SH OPTIONS")
    leaves = list(_leaves(context))
    if leaves:
        yield ".SH COMMANDS"
    for leaf in leaves:
        yield f".SS {_escape(leaf.command_path)}"
        yield from _usage(leaf)
        yield from _paragraphs(leaf.command.help or "")
        yield from _options(leaf, ".PP")
    yield from _see_also([NAME])


def _children(context: click.Context) -> Iterator[click.Context]:
    group = context.command
    if isinstance(group, click.Group):
        for name in group.list_commands(context):
            child = group.get_command(context, name)
            if child and not child.hidden:
                yield click.Context(child, info_name=name, parent=context)


def _leaves(context: click.Context) -> Iterator[click.Context]:
    for child in _children(context):
        if isinstance(child.command, click.Group):
            yield from _leaves(child)
        else:
            yield child


def _short(context: click.Context) -> str:
    return context.command.get_short_help_str(limit=1000)


def _heading(name: str, short: str) -> Iterator[str]:
    date = datetime.fromtimestamp(epoch(), UTC).date().isoformat()
    yield f'.TH {_escape(name.upper())} 1 {date} "OpenIMDS {_escape(version())}" "OpenIMDS"'
    yield from (".nh", ".ad l")  # Names of commands and options stay whole.
    yield from (".SH NAME", f"{_escape(name)} \\- {_escape(short)}")


def _synopsis(context: click.Context) -> Iterator[str]:
    yield ".SH SYNOPSIS"
    yield from _usage(context)


def _usage(context: click.Context) -> Iterator[str]:
    pieces = " ".join(context.command.collect_usage_pieces(context))
    yield f"\\fB{_escape(context.command_path)}\\fR {_escape(pieces)}"


def _paragraphs(text: str) -> Iterator[str]:
    """Yield a help text; a paragraph that begins with a backspace keeps its lines."""
    lines = cleandoc(text).partition("\f")[0].splitlines()
    for is_text, block in groupby(lines, key=bool):
        rows = list(block)
        if not is_text:
            continue
        yield ".PP"
        if rows[0] == "\b":
            yield from (".nf", *map(_escape, rows[1:]), ".fi")
        else:
            yield _escape(" ".join(rows))


def _options(context: click.Context, heading: str) -> Iterator[str]:
    records = [
        record
        for parameter in context.command.get_params(context)
        if isinstance(parameter, click.Option) and (record := parameter.get_help_record(context))
    ]
    if records:
        yield heading
    for option, text in records:
        yield from _entry(option, " ".join(text.split()))


def _entry(term: str, text: str) -> Iterator[str]:
    yield from (".TP", f"\\fB{_escape(term)}\\fR", _escape(text))


def _see_also(names: Iterable[str]) -> Iterator[str]:
    yield ".SH SEE ALSO"
    rows = [f".BR {_escape(name)} (1)" for name in names]
    yield from (*(f"{row} ," for row in rows[:-1]), rows[-1])


def _escape(text: str) -> str:
    """Return a text of which no character is an order to the formatter."""
    escaped = text.replace("\\", "\\e").replace("-", "\\-")
    escaped = escaped.replace("…", "...").replace("'", "\\(aq")
    escaped = escaped.replace("|", "|\\:").replace("/", "/\\:")  # Long words may be broken here.
    return f"\\&{escaped}" if escaped.startswith((".", "'")) else escaped


if __name__ == "__main__":
    main()
