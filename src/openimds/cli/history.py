"""Logs of the admin API, read from their end.

The entries of a log have rising numbers and times. The API has pages from the oldest entry on; a
cursor is the number before a page. The end of a log and the first entry after a time are found by
bisection, and the entries before are not read.
"""

import re
import time
from collections.abc import Callable, Iterator
from datetime import datetime
from typing import Any, TypeAlias

import click

from openimds.cli.client import Client
from openimds.errors import ConfigError
from openimds.parameters import LARGEST, MisfitError, parse_duration, parse_time

Entry: TypeAlias = dict[str, Any]
LAST = 50
"""The entries that a command prints without `--since`."""
_MOST_AT_ONCE = 1000
_SECONDS = re.compile(r"[0-9]{1,9}(\.[0-9]{1,9})?")


class Moment(click.ParamType):  # type: ignore[type-arg]  # click 8.1 takes none
    """A time, or its distance from now, in seconds since 1970."""

    name = "time|duration"

    def convert(
        self, value: str, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        """Return the time in seconds since 1970.

        Raises:
            ConfigError: the text is neither a time nor a duration.
        """
        del ctx
        ago_s = float(value) if _SECONDS.fullmatch(value) else parse_duration(value)
        if ago_s is not None and ago_s >= 0:
            return time.time() - ago_s
        try:
            return parse_time(value)
        except MisfitError as error:
            where = param.opts[0] if param else self.name
            expected = f"a duration such as 90s, 10m or 2h30m, or {error}"
            raise ConfigError(where, f'"{value}"', expected) from None


since_option = click.option(
    "--since", "since_s", type=Moment(), help="Begin with this time, or so long ago."
)
last_option = click.option(
    "--last",
    type=click.IntRange(min=1),
    metavar="N",
    default=LAST,
    show_default=True,
    help="Without --since: the newest entries.",
)


class NumberedLog:
    """The audit log, or the log of events."""

    def __init__(self, client: Client, path: str, number: str) -> None:
        """Read nothing yet; `number` is the member of an entry that rises."""
        self._client, self._path, self._number = client, path, number
        self.end = 0
        """The number of the last entry that was read."""

    def since(self, at_s: float) -> Iterator[Entry]:
        """Yield the entries from a time on, in seconds since 1970."""
        first, last = self._bounds()
        low, high = first - 1, last  # Entries up to `low` are older, those after `high` are not.
        while low < high:
            middle = (low + high) // 2
            entry = self._after(middle)
            if entry and _time_of(entry) < at_s:
                low = int(entry[self._number])
            else:
                high = middle
        return self._between(low, last)

    def tail(
        self, count: int, matches: Callable[[Entry], bool], most_read: int = LARGEST
    ) -> list[Entry]:
        """Return the newest matching entries among the last `most_read`, the oldest first."""
        first, last = self._bounds()
        first = max(first, last - most_read + 1)
        found: list[Entry] = []
        size = count
        while last >= first and len(found) < count:
            start = max(first - 1, last - size)
            found = [entry for entry in self._between(start, last) if matches(entry)] + found
            last, size = start, min(2 * size, _MOST_AT_ONCE)
        return found[-count:]

    def until(self, number: int) -> Iterator[Entry]:
        """Yield the entries after the last one that was read, up to this one."""
        start, self.end = self.end, max(self.end, number)
        return self._between(start, number)

    def _bounds(self) -> tuple[int, int]:
        """Return the numbers of the first and the last entry, 1 and 0 without any."""
        entry = self._after(None)
        if entry is None:
            self.end = 0
            return 1, 0
        first = low = int(entry[self._number])
        step = 1
        while entry := self._after(low + step):
            low, step = int(entry[self._number]), 2 * step
        high = low + step  # There is an entry with number `low`, and none after `high`.
        while low < high:
            middle = (low + high) // 2
            entry = self._after(middle)
            if entry:
                low = int(entry[self._number])
            else:
                high = middle
        self.end = low
        return first, low

    def _after(self, number: int | None) -> Entry | None:
        """Return the first entry after a number.

        For a token that is bound to VMs, a page without items may come before others.
        """
        limit, cursor = 1, "" if number is None else f"&cursor={number}"
        while True:
            page = self._client.ask("GET", f"{self._path}?limit={limit}{cursor}")
            entries: list[Entry] = page["items"]
            if entries or page["next"] is None:
                return entries[0] if entries else None
            limit, cursor = _MOST_AT_ONCE, f"&cursor={page['next']}"

    def _between(self, start: int, end: int) -> Iterator[Entry]:
        if start >= end:
            return
        query = {"limit": min(end - start, _MOST_AT_ONCE), "cursor": start}
        for entry in self._client.items(self._path, query):
            if entry[self._number] > end:
                return
            yield entry


def shown_time(entry: Entry) -> str:
    """Return the time of an entry in UTC, from the month to the second."""
    return f"{entry['at'][5:10]} {entry['at'][11:19]}"


def _time_of(entry: Entry) -> float:
    return datetime.fromisoformat(entry["at"]).timestamp()
