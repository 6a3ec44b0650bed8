"""`--watch`: show a list again whenever the fleet changes.

A terminal is drawn anew. A pipe gets the list once, and then each item that is new, changed or
gone, one to a line. The feed of changes wakes it; what the feed does not have is found by a look
every few seconds. Ctrl-C ends it.
"""

import shutil
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

import click
import msgspec.json

from openimds.cli import table
from openimds.cli.client import Client, ServerError
from openimds.cli.output import shown_in
from openimds.cli.table import Column, draw, printable, tsv_line
from openimds.errors import Error

PERIOD_S = 5.0
"""The longest time without a look."""
_GATHER_S = 0.2
"""Changes that come so soon after one another are shown together."""
_FEED = "/v1/changes"
_CLEAR = "\x1b[H\x1b[2J"
_OTHER_LINES = 2
"""The status line and the cursor's."""

Item = dict[str, Any]

watch_option = click.option(
    "--watch", "is_watched", is_flag=True, help="Show it again at each change, until Ctrl-C."
)


class ChangeSignal:
    """Wakes a command when the server reports a change."""

    def __init__(self, client: Client) -> None:
        """Follow the feed of a client that does nothing else, in a thread."""
        self._changed, self._error = threading.Event(), ""
        self._thread = threading.Thread(target=self._follow, args=(client,), daemon=True)
        self._thread.start()

    def wait(self, period_s: float) -> None:
        """Wait for a change, or for this time.

        Raises:
            ServerError: the server has ended the feed, or is away.
        """
        if self._changed.wait(period_s):
            time.sleep(_GATHER_S)
        self._changed.clear()
        if self._error:
            raise ServerError(self._error)

    def _follow(self, client: Client) -> None:
        try:
            for _ in client.follow(_FEED):
                self._changed.set()
            self._error = "the server has ended the feed of changes: it is stopping"
        except Error as error:
            self._error = str(error)
        self._changed.set()


class WatchedList(NamedTuple):
    """A list that is watched: its reader, its columns, and the key of an item."""

    read: Callable[[], Iterable[Item]]
    columns: Sequence[Column]
    key: str
    output: str = ""


def watch_list(watched: WatchedList, signal: ChangeSignal, period_s: float = PERIOD_S) -> None:
    """Show a list until Ctrl-C.

    Raises:
        ServerError: the server is away.
    """
    items = _by_key(watched)
    shows = _Screen(watched) if _is_drawn(watched.output) else _Lines(watched)
    try:
        shows.begin(items)
        while True:
            signal.wait(period_s)
            before, items = items, _by_key(watched)
            if items != before:
                shows.follow(before, items)
    except KeyboardInterrupt:
        return


def watch_text(text: Callable[[], str], signal: ChangeSignal, period_s: float = PERIOD_S) -> None:
    """Show a text until Ctrl-C; in a pipe, its lines that are new.

    Raises:
        ServerError: the server is away.
    """
    shown = text()
    try:
        _show_text(shown, "")
        while True:
            signal.wait(period_s)
            before, shown = shown, text()
            if shown != before:
                _show_text(shown, before)
    except KeyboardInterrupt:
        return


class _Screen:
    """A list on a terminal."""

    def __init__(self, watched: WatchedList) -> None:
        form = "wide" if watched.output == "wide" else "table"
        self._columns = shown_in(form, watched.columns)

    def begin(self, items: dict[str, Item]) -> None:
        size = shutil.get_terminal_size()
        rows = [[column.cell(item) for column in self._columns] for item in items.values()]
        _draw([*draw(self._columns, rows, size.columns)], f"{len(items)} in all")

    def follow(self, _: dict[str, Item], items: dict[str, Item]) -> None:
        self.begin(items)


class _Lines:
    """A list in a pipe, or in a form that is not drawn."""

    def __init__(self, watched: WatchedList) -> None:
        self._watched, self._columns = watched, shown_in("wide", watched.columns)

    def begin(self, items: dict[str, Item]) -> None:
        if self._watched.output in {"", "tsv"}:
            click.echo("\t".join(column.head for column in self._columns))
        for item in items.values():
            self._print(item)

    def follow(self, before: dict[str, Item], items: dict[str, Item]) -> None:
        for key in (key for key in before if key not in items):
            gone = {self._watched.key: key, "gone": True}
            is_json = self._watched.output == "json"
            click.echo(msgspec.json.encode(gone).decode() if is_json else f"{printable(key)}\tgone")
        for key, item in items.items():
            if before.get(key) != item:
                self._print(item)

    def _print(self, item: Item) -> None:
        if self._watched.output == "json":
            click.echo(msgspec.json.encode(item).decode())
        elif self._watched.output == "name":
            click.echo(printable(str(item[self._watched.key])))
        else:
            click.echo(tsv_line(self._columns, item))


def check_form(output: str) -> None:
    """Check that a form can be watched.

    Raises:
        UsageError: it cannot.
    """
    if output == "yaml":
        raise click.UsageError("--watch does not go with --output yaml; json has one item a line")


def _is_drawn(output: str) -> bool:
    return table.is_terminal() and output in {"", "table", "wide"}


def _by_key(watched: WatchedList) -> dict[str, Item]:
    return {item[watched.key]: item for item in watched.read()}


def _show_text(text: str, before: str) -> None:
    if table.is_terminal():
        _draw(text.splitlines(), "")
        return
    known = frozenset(before.splitlines())
    for line in text.splitlines():
        if line not in known:
            click.echo(line)


def _draw(lines: Sequence[str], about: str) -> None:
    """Draw what fits on the screen, and a line below it."""
    room = max(1, shutil.get_terminal_size().lines - _OTHER_LINES)
    left = len(lines) - room
    notes = [about, f"{left} lines below" if left > 0 else "", time.strftime("%H:%M:%S")]
    status = ", ".join(filter(None, notes)) + "; Ctrl-C ends"
    click.echo(_CLEAR + "\n".join([*lines[:room], status]), color=True)
