"""The history of a store, its changes and event log: bounded by age and size.

Both logs are pruned from their oldest row on, so that the kept rows have consecutive numbers. Every
step is a call of the store that takes some milliseconds; an interrupted run is taken up by the
next, because a row is either there or not.
"""

from collections.abc import Generator, Iterator
from datetime import UTC, datetime, timedelta
from math import ceil

from msgspec import Struct

from openimds.fleet.store.port import Log, Span, Store

STEP_ROWS = 200
"""So many rows are read or deleted in one step."""
PENDING = "history"
"""The key of the time, in seconds, from which a store of an earlier release is pruned.

The schema sets it, empty, in a store that has a history. A backup removes it.
"""
_DAY_S = 86_400
_EVENTS_SHARE = 4
"""The log of events has at most the fourth part of the size; changes have the rest."""


class HistoryBounds(Struct, frozen=True):
    """The bounds on the history of a store: by age (0: none), and in bytes."""

    days: int
    size_bytes: int

    def oldest(self, now_s: float) -> str:
        """Return the date before which rows are too old; empty without a bound.

        Dates compare as texts, up to their seconds.
        """
        least_s = timedelta(seconds=now_s - self.days * _DAY_S)
        if not self.days or least_s < timedelta():
            return ""
        return (datetime(1970, 1, 1, tzinfo=UTC) + least_s).strftime("%Y-%m-%dT%H:%M:%S")


class History:
    """Finds and deletes the rows of a store beyond its bounds, in steps."""

    def __init__(self, store: Store, bounds: HistoryBounds) -> None:
        """Bound the history of a store."""
        self._store, self._bounds = store, bounds
        self._sizes: dict[tuple[Log, int], int] = {}
        self.cuts: dict[Log, int] = dict.fromkeys(Log, 0)
        """The number up to which each log is to be pruned, after `plan`."""
        self.rows: dict[Log, int] = dict.fromkeys(Log, 0)
        """The number of rows to delete from each log, after `plan`."""

    def plan(self, now_s: float, share: float = 1.0) -> Iterator[None]:
        """Find the rows beyond the bounds; each step reads some.

        A row of the future, and any after it, is not too old. At most `share` of a log's rows are
        taken as too old: a clock that is wrong by years does not empty the log at once.
        """
        left, oldest = self._bounds.size_bytes, self._bounds.oldest(now_s)
        for log, part in ((Log.EVENTS, left // _EVENTS_SHARE), (Log.CHANGES, None)):
            span = self._store.span(log)
            by_size, used = yield from self._by_size(log, span, left if part is None else part)
            allowed = span.pruned + ceil((span.last - span.pruned) * share)
            by_age = yield from self._by_age(log, oldest, span.pruned, allowed)
            left -= used
            self.cuts[log] = max(by_age, by_size)
            self.rows[log] = self.cuts[log] - span.pruned
        self._forget_pruned()

    def _by_size(self, log: Log, span: Span, limit: int) -> Generator[None, None, tuple[int, int]]:
        """Return the number up to which rows exceed a limit, and the kept bytes."""
        used, last = 0, span.last
        while last > span.pruned:
            first = max(span.first, (last - 1) // STEP_ROWS * STEP_ROWS + 1)
            size = self._sizes.get((log, last))
            if size is None:
                size = self._read_size(log, first, last)
                yield
            if used + size > limit:
                break
            used, last = used + size, first - 1
        else:
            return span.pruned, used
        for number, size in reversed(self._store.row_sizes(log, first, last)):
            if used + size > limit:
                return number, used
            used += size
        return first - 1, used  # Some of the rows have been pruned since they were measured.

    def _by_age(
        self, log: Log, oldest: str, pruned: int, allowed: int
    ) -> Generator[None, None, int]:
        """Return the number up to which rows are too old, `allowed` at most."""
        while oldest and pruned < allowed:
            until = min(pruned + STEP_ROWS, allowed)
            pruned = self._store.last_older(log, oldest, pruned, until)
            yield
            if pruned < until:
                break
        return pruned

    def _read_size(self, log: Log, first: int, last: int) -> int:
        """Return the bytes of up to a step's rows; keep those of a full step."""
        size = sum(one for _, one in self._store.row_sizes(log, first, last))
        if last % STEP_ROWS == 0:
            self._sizes[log, last] = size
        return size

    def _forget_pruned(self) -> None:
        for log, last in [*self._sizes]:
            if last <= self.cuts[log]:
                del self._sizes[log, last]

    def prune(self) -> Iterator[tuple[Log, int]]:
        """Delete the planned rows; each step yields the log and its number of deleted rows."""
        for log, cut in self.cuts.items():
            first = self._store.span(log).first
            while first <= cut:
                until = min(cut, first - 1 + STEP_ROWS)
                yield log, self._store.prune(log, until)
                first = until + 1
