"""Options that choose VMs, and the question before a command acts on many of them.

A name without wildcards is sent as it was typed. Others are first looked up, so that the VMs in the
question are those that the command acts on.
"""

import re
import sys
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from functools import wraps
from typing import Any, NamedTuple, TypeVar, cast
from urllib.parse import quote, urlencode

import click
import msgspec.json
from click.shell_completion import CompletionItem

from openimds.cli.client import Client, MissingError
from openimds.cli.complete import offered
from openimds.errors import ConfigError, Error

F = TypeVar("F", bound=Callable[..., Any])

_WILDCARDS = frozenset("*?[")
"""As in `vm.selector`, which help must not load."""
_ALL = "*"
_SHOWN = 3
"""The names in a question."""
_TOGETHER = 1000
"""The VMs of one request, as the server bounds them."""
_LONGEST_QUERY = 60_000
"""The characters of the names in one request; the server's parser of URLs takes 65,535."""
_COMPLETED = 100
"""The most names that a shell offers."""
_HELP = "Only VMs that fit KEY=VALUE,..., such as tag=env:prod,location=westeurope."


class NoVmError(Error):
    """A selection has no VM, or a typed name has none."""


class Selection(NamedTuple):
    """The VMs that the options of a command choose, and how it asks."""

    names: tuple[str, ...] = ()
    selects: tuple[str, ...] = ()
    is_all: bool = False
    is_confirmed: bool = False
    is_dry_run: bool = False

    @property
    def is_given(self) -> bool:
        """Whether any VM is chosen."""
        return bool(self.names or self.selects or self.is_all)

    @property
    def is_exact(self) -> bool:
        """Whether it is names without wildcards alone."""
        return not (self.selects or self.is_all or any(map(is_pattern, self.names)))

    @property
    def is_whole_fleet(self) -> bool:
        """Whether it is every VM."""
        return self.is_all or (_ALL in self.names and not self.selects)

    @property
    def query(self) -> dict[str, object]:
        """The query parameters of the API that choose the same VMs."""
        names = (_ALL,) if self.is_all else self.names
        query: dict[str, object] = {}
        if names:
            query["name"] = ",".join(names)
        if self.selects:
            query["select"] = ",".join(self.selects)
        return query

    @property
    def options(self) -> str:
        """The options as they are typed."""
        words = [f"--vm {name}" for name in self.names]
        words += [f"--select {text}" for text in self.selects]
        return " ".join(["--all"] if self.is_all else words)

    def with_names(self, more: Sequence[str]) -> "Selection":
        """Return the selection with more names.

        Raises:
            UsageError: it is of all VMs already, or a name is empty.
        """
        check_given("NAME", more)
        if more and self.is_all:
            raise click.UsageError("--all goes without names")
        return self._replace(names=(*self.names, *more))


def complete_name(
    context: click.Context, _: click.Parameter, incomplete: str
) -> list[CompletionItem]:
    """Return the names of VMs for a shell; none if no server answers."""
    if is_pattern(incomplete):
        return []
    return offered(context, incomplete, _names)


def _names(client: Client, incomplete: str) -> Iterator[CompletionItem]:
    query = {"name": f"{incomplete}*", "fields": "name", "limit": _COMPLETED}
    return (CompletionItem(vm["name"]) for vm in client.page("/v1/vms", query))


def complete_select(_: click.Context, __: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Return the keys of a selector, behind the terms that stand there."""
    from openimds.vm.selector import KEYS

    before, comma, last = incomplete.rpartition(",")
    return [
        CompletionItem(f"{before}{comma}{row.key}=", help=row.help)
        for row in KEYS
        if row.key.startswith(last)
    ]


def check_given(what: str, texts: Iterable[str]) -> None:
    """Refuse an empty text: it would choose other things than it names.

    Raises:
        UsageError: one is empty.
    """
    if not all(texts):
        raise click.UsageError(f'{what} "" is an empty text; is a variable of the shell unset?')


def _refuse_empty(
    _: click.Context, parameter: click.Parameter, texts: tuple[str, ...]
) -> tuple[str, ...]:
    check_given(parameter.opts[0], texts)
    return texts


def names_option(about: str, *, takes_empty: bool = False) -> Callable[[F], F]:
    """Return the decorator of `--vm` alone: names of VMs, also of removed ones.

    `takes_empty` allows the empty name.
    """
    return click.option(
        "--vm",
        "names",
        metavar="NAME",
        multiple=True,
        help=f"{about}; repeat it, or use wildcards: 'web-*'.",
        shell_complete=complete_name,
        callback=None if takes_empty else _refuse_empty,
    )


def name_filter(names: tuple[str, ...]) -> Callable[[Iterable[str]], bool]:
    """Return the test of names of which one has to fit; all do without names."""
    if not names:
        return lambda _: True
    from openimds.vm.selector import patterns_of

    patterns = patterns_of(names)
    return lambda given: any(map(patterns.fit, given))


def select_options(
    about: str = "Only this VM", *, acts: bool = True, takes_empty: bool = False
) -> Callable[[F], F]:
    """Return a decorator that adds the options; the command gets `selection`.

    Args:
        about: the help of `--vm`, to which wildcards and repetition are added.
        acts: whether the command changes something, so that it may have to ask.
        takes_empty: whether `--vm ""` has a meaning, as for requests of unknown callers.
    """
    rows = [
        names_option(about, takes_empty=takes_empty),
        click.option(
            "--select",
            "selects",
            metavar="SELECTOR",
            multiple=True,
            help=_HELP,
            shell_complete=complete_select,
            callback=_refuse_empty,
        ),
    ]
    if acts:
        rows += [
            click.option("--all", "is_all", is_flag=True, help="All VMs."),
            click.option("--yes", "is_confirmed", is_flag=True, help="Do not ask."),
            click.option("--dry-run", "is_dry_run", is_flag=True, help="Only list what is hit."),
        ]

    def decorate(function: F) -> F:
        @wraps(function)
        def call(*arguments: object, **more: Any) -> object:  # noqa: ANN401 - any option
            given = {name: more.pop(name) for name in Selection._fields if name in more}
            selection = Selection(**given)
            if selection.is_all and (selection.names or selection.selects):
                raise click.UsageError("--all goes without --vm and --select")
            return function(*arguments, selection=selection, **more)

        decorated: Any = call
        for row in reversed(rows):
            decorated = row(decorated)
        return cast("F", decorated)

    return decorate


def is_pattern(name: str) -> bool:
    """Tell whether a name has wildcards."""
    return not _WILDCARDS.isdisjoint(name)


def names_of(client: Client, selection: Selection) -> list[str]:
    """Return the names of the chosen VMs; typed ones stand as they are.

    Raises:
        NoVmError: there is none, or none of a typed name.
    """
    if selection.is_exact:
        return [*dict.fromkeys(selection.names)]
    query = {**selection.query, "fields": "name"}
    found = [vm["name"] for vm in client.items("/v1/vms", query)]
    typed = () if selection.selects else selection.names
    absent = [name for name in typed if not is_pattern(name) and name not in found]
    if absent:
        raise NoVmError(f'There is no VM "{absent[0]}"; openimds vm list shows all')
    if not found:
        raise NoVmError(f"No VM fits {selection.options}; openimds vm list takes the same options")
    return found


def ask_by_names(
    client: Client,
    call: tuple[str, str],
    names: Sequence[str],
    body: object = None,
    media: str = "application/json",
) -> Iterator[dict[str, Any]]:
    """Call an operation for VMs by name, in parts, and yield its items.

    VMs that were removed since they were looked up are left out.

    Args:
        client: the connection.
        call: the method and the path, without a query.
        names: the names of VMs, as they were looked up or typed.
        body: the body of each request.
        media: its media type.

    Raises:
        MissingError: every part had status 404.
    """
    method, path = call
    missing, is_found = None, False
    for query in _queries(names):
        try:
            items = client.ask(method, f"{path}?{query}", body, media)["items"]
        except MissingError as error:
            missing = error
            continue
        is_found = True
        yield from items
    if missing and not is_found:
        raise missing


def _queries(names: Sequence[str]) -> Iterator[str]:
    """Yield queries that choose VMs by name, each of a bounded length."""
    part: list[str] = []
    size = 0
    for name in names:
        # `web[[]1]` is the VM of 0.1.0 with the name `web[1]` alone, also once it is removed.
        literal = re.sub(r"([*?\[])", r"[\1]", name)
        if "," in name:  # As 0.1.0 allowed it; `name` has no way to write it.
            escaped = re.sub(r"([\\,])", r"\\\1", literal)
            yield urlencode({"select": f"name={escaped}"})
            continue
        text = quote(literal, safe="")
        if part and (len(part) == _TOGETHER or size + len(text) >= _LONGEST_QUERY):
            yield f"name={','.join(part)}"
            part, size = [], 0
        part.append(text)
        size += len(text) + 1
    if part:
        yield f"name={','.join(part)}"


def may_act(
    selection: Selection, deed: str, hit: Collection[str], kind: str = "VM", output: str = ""
) -> bool:
    """Tell whether to act; ask, if anything is hit that was not typed.

    With `--dry-run` list it instead.

    Args:
        selection: the options.
        deed: a verb, such as `Remove`.
        hit: the names or ids.
        kind: their kind in the question.
        output: `json` prints the list so.

    Raises:
        Abort: the answer is no.
        ConfigError: nobody can be asked, and the whole fleet is hit.
    """
    if selection.is_dry_run:
        if output == "json":
            click.echo(msgspec.json.encode([*hit]).decode())
        else:
            for name in hit:
                click.echo(name)
        return False
    if selection.is_confirmed or {*hit} <= {*selection.names}:
        return True
    what = f"{len(hit)} {kind}{'s' if len(hit) > 1 else ''}"
    if can_ask():
        click.confirm(f"{deed} {what} ({_some(hit)})?", abort=True, err=True)
    elif selection.is_whole_fleet:
        raise ConfigError(
            "--all" if selection.is_all else f"--vm {_ALL}",
            f"no terminal to ask whether to {deed.lower()} {what}",
            "--yes",
            "Type --dry-run to see them",
        )
    return True


def is_to_list(selection: Selection) -> bool:
    """Tell whether a command lists what it hits, or asks about it."""
    return selection.is_dry_run or (can_ask() and not selection.is_confirmed)


def can_ask() -> bool:
    """Tell whether a person can answer a question."""
    return sys.stdin.isatty() and sys.stderr.isatty()


def _some(names: Collection[str]) -> str:
    shown = ", ".join([*names][:_SHOWN])
    more = len(names) - _SHOWN
    return f"{shown} and {more} more" if more > 0 else shown
