"""Decides whether an opened store may write, and whether an unacknowledged commit was made.

A connection may be lost while the engine commits. The row of `store` tells afterwards: each write
counts its `serial` up and leaves a mark beside those of other writers. If the engine does not
answer at once, the change was reported as failed; should it turn out to be made, the caller's
picture of the store is wrong: it may write no longer, and gives up its lease. The same holds for a
store that lost changes (a replica that lagged behind, a restored backup) or was replaced.
"""

from typing import Any, TypeAlias
from uuid import uuid4

import psycopg
from msgspec import Struct
from msgspec.structs import replace

from openimds.fleet.store.port import FencedError
from openimds.fleet.store.postgres.location import PostgresLocation
from openimds.fleet.store.postgres.schema import check_reader

CONTROL = "control"
"""The name of the only lease."""
END_EPOCH = (
    "UPDATE lease SET holder = '', url = '', epoch = epoch + 1, until = '-infinity' "
    "WHERE name = %s AND epoch = %s"
)
_Connection: TypeAlias = psycopg.Connection[tuple[Any, ...]]
_MET = "SELECT identity, serial, mark FROM store"
_MET_PENDING = "SELECT identity, serial, mark FROM store FOR UPDATE"
_ANEW = "the fleet is loaded anew when the store is opened again"


class StoreCounters(Struct):
    """The numbers of the last change and of the last log entry, inside a transaction."""

    last_change: int
    last_entry: int


class _Pending(Struct, frozen=True):
    serial: int
    mark: str
    before: str
    is_reported: bool = False


def check_lease(connection: _Connection, location: PostgresLocation, epoch: int | None) -> None:
    """Check that the lease is the writer's, until the transaction ends.

    The lock lets the holder renew its lease, and makes a take-over wait. A writer without an epoch
    may write while no lease is valid.

    Raises:
        FencedError: another process leads.
        psycopg.Error: the engine failed.
    """
    row = connection.execute(
        "SELECT holder, url, epoch, until > clock_timestamp() FROM lease WHERE name = %s "
        "FOR KEY SHARE",
        (CONTROL,),
    ).fetchone()
    assert row, "the row is made with the table"
    holder, url, current, is_valid = row
    leader = f"{holder} at {url} leads" if is_valid else "no control leads"
    if epoch is None and is_valid:
        raise FencedError(f"{location}: {leader}; nothing was changed. Send the change there")
    if epoch is not None and epoch != current:
        raise FencedError(
            f"{location}: epoch {epoch} of the lease has ended ({leader}, epoch {current}); "
            "nothing was changed"
        )


class WriteGuard:
    """Guards the writes of one opened store."""

    identity = ""
    """The store's own name, made with its tables."""
    reason = ""
    """The reason why this opening may write no longer, or nothing."""

    def __init__(self, location: PostgresLocation, epoch: int | None, writer: str) -> None:
        """Guard the writes of the holder of an epoch, or of a tool without one.

        The openings of one process differ by the name of their `writer`, a word.
        """
        self._location, self._epoch, self._writer = location, epoch, writer
        self._serial = 0
        self._marks: dict[str, str] = {}
        self._pending: _Pending | None = None
        self._was_made = False

    def meet(self, connection: _Connection) -> None:
        """Compare the store behind a new connection with the one that was left.

        Raises:
            psycopg.Error: the engine failed.
        """
        # The engine may be committing still: the row is free when that has ended.
        row = connection.execute(_MET_PENDING if self._pending else _MET).fetchone()
        assert row, "the row is made with the table"
        identity, serial, mark = row
        if not self.identity:
            self.identity, self._serial = identity, serial
        elif identity != self.identity:
            self._fence("another store stands here now")
        elif serial < self._serial:
            self._fence("the engine has lost changes that it had acknowledged")
        elif self._pending:
            self._settle(self._pending, serial, mark)
        if self.reason and self._epoch is not None:
            # The next renewal fails then: the control that leads ends, and loads the fleet anew.
            connection.execute(END_EPOCH, (CONTROL, self._epoch))

    def _settle(self, pending: _Pending, serial: int, mark: str) -> None:
        """Find out whether a change was made whose commit was not acknowledged."""
        self._pending = None
        if serial < pending.serial:
            return
        last = _marks(mark).get(self._writer, "")
        self._was_made = last == pending.mark
        # Any other mark than that before it is of a process which has written since.
        is_known = self._was_made or last == pending.before
        if not is_known or (pending.is_reported and self._was_made):
            self._fence("a change that was reported as failed may have been made")

    def _fence(self, reason: str) -> None:
        self._pending = None
        self.reason = f"{self._location}: {reason}; {_ANEW}"

    def enter(self, connection: _Connection) -> StoreCounters:
        """Return the counters, which are the caller's until the transaction ends.

        Raises:
            FencedError: this opening may write no longer.
            StoreError: the store needs a later release.
            psycopg.Error: the engine failed.
        """
        if self.reason:
            raise FencedError(self.reason)
        check_lease(connection, self._location, self._epoch)
        row = connection.execute(
            "SELECT steps, min_reader, last_change, last_entry, serial, mark FROM store FOR UPDATE"
        ).fetchone()
        assert row, "the row is made with the table"
        steps, min_reader, last_change, last_entry, self._serial, mark = row
        check_reader(self._location, steps, min_reader)
        self._marks = _marks(mark)
        return StoreCounters(last_change, last_entry)

    def leave(self, connection: _Connection, counters: StoreCounters) -> None:
        """Store the counters, as the last step before the commit."""
        mark, before = uuid4().hex, self._marks.get(self._writer, "")
        marks = self._marks | {self._writer: mark}
        text = " ".join(f"{writer}={one}" for writer, one in marks.items())
        connection.execute(
            "UPDATE store SET last_change = %s, last_entry = %s, serial = serial + 1, mark = %s",
            (counters.last_change, counters.last_entry, text),
        )
        self._pending, self._was_made = _Pending(self._serial + 1, mark, before), False

    def rolled_back(self) -> None:
        """Forget a commit that the engine refused."""
        self._pending = None

    def outcome(self) -> bool | None:
        """Tell whether an unacknowledged commit was made; None if that is not known.

        The caller reports None as a failure.
        """
        if self._pending:
            self._pending = replace(self._pending, is_reported=True)
        return None if self._pending or self.reason else self._was_made

    def committed(self) -> None:
        """Keep the serial of a change that was made."""
        self._serial, self._pending = self._serial + 1, None


def _marks(text: str) -> dict[str, str]:
    """Return the last mark of each writer."""
    pairs = (part.partition("=") for part in text.split())
    return {writer: mark for writer, _, mark in pairs if mark}
