"""One connection to PostgreSQL, which is made anew after a loss."""

import re
import socket
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any, LiteralString, TypeAlias

import psycopg

from openimds.fleet.store.port import StoreError
from openimds.fleet.store.postgres.location import PostgresLocation
from openimds.fleet.store.postgres.pooler import changes_connections

Connection: TypeAlias = psycopg.Connection[tuple[Any, ...]]
"""A connection whose rows are tuples."""

CONNECT_S = 3
"""The most time that the way to each host of an engine may take."""
CALL_S = 40.0
"""The most time of a call: ten times that of a write of 100,000 VMs."""
STATEMENT_S = 30
"""The most time of a statement, by the engine's clock."""
LOCK_S = 5
"""The most time that a statement waits for another writer."""
IDLE_S = 4
"""The engine ends a transaction whose writer is silent for so long: a stopped leader holds the
lease's row no longer, so that another can take over."""
_SILENCE = {"keepalives_idle": 2, "keepalives_interval": 1, "keepalives_count": 3}
"""A silent peer is asked after 2 s and given up 3 s later."""
_MOST_TEXT = 400

_SET_UP = """
    SELECT set_config('search_path', %s, false),
        set_config('statement_timeout', %s, false),
        set_config('lock_timeout', %s, false),
        set_config('idle_in_transaction_session_timeout', %s, false),
        set_config('synchronous_commit',
            replace(current_setting('synchronous_commit'), 'off', 'on'), false),
        current_setting('server_encoding')
"""

_HINTS = {
    "28": "mend the user or its password (in the URL, PGPASSWORD or PGPASSFILE)",
    "3D000": "make the database: createdb --encoding UTF8 NAME",
    "42501": "let the user of the URL own the database, or its schema",
    "53": "give the engine what it lacks; nothing was changed",
    "55P03": f"another writer held the store for {LOCK_S} s; nothing was changed",
    "57014": f"it took longer than {STATEMENT_S} s; nothing was changed",
    "25006": "connect to the engine that takes writes; nothing was changed",
}
"""Remedies by the first characters of SQLSTATE, PostgreSQL's code of an error."""
_TEXTS = {
    "authentication failed": "28",
    'role "': "28",
    "no password supplied": "28",
    'database "': "3D000",
    "read-only": "25006",
}
"""Codes of failed connections, which come as texts alone."""
_WRAPPING = re.compile(
    "^(connection failed|connection is bad|consuming input failed): "
    "|( server closed the connection unexpectedly)? (This probably means|Is the server running).*"
)
"""The parts of a text that libpq and psycopg add to the reason, not all releases alike."""
LOST = "the connection was lost; nothing was changed"
_UNREACHED = "start the engine, or mend the way to it; nothing was changed"


def _dial(location: PostgresLocation) -> Connection:
    """Connect to an engine that takes writes."""
    optional = {"user": location.user, "password": location.password}
    arguments: dict[str, Any] = {
        "connect_timeout": CONNECT_S,
        "client_encoding": "UTF8",
        "target_session_attrs": "read-write",
        "tcp_user_timeout": 1000 * sum(_SILENCE.values()),
        "application_name": "openimds",
        **_SILENCE,
        **{name: value for name, value in optional.items() if value},
        **location.parameters,
    }
    return psycopg.connect(
        host=location.host,
        port=location.port,
        dbname=location.database,
        autocommit=True,
        **arguments,
    )


def _check(connection: Connection, location: PostgresLocation) -> None:
    """Set the limits of a session that is whole and in UTF-8.

    Raises:
        psycopg.Error: the engine failed.
        StoreError: the database has another encoding, or a pooler is between.
    """
    if changes_connections(connection, lambda: _dial(location)):
        raise StoreError(
            f"{location}: a pooler in transaction mode is between (such as pgbouncer with "
            "pool_mode=transaction); name the engine's own host and port in --store, or set "
            "pool_mode=session for this database"
        )
    limits = [f"{seconds}s" for seconds in (STATEMENT_S, LOCK_S, IDLE_S)]
    row = connection.execute(_SET_UP, (f"{location.schema}, pg_temp", *limits)).fetchone()
    assert row, "a query of functions has one row"
    if row[-1] != "UTF8":
        raise StoreError(
            f"{location}: its encoding is {row[-1]}, expected UTF8; make another database: "
            "createdb --encoding UTF8 --template template0 NAME"
        )


class PostgresSession:
    """One connection, used from one thread at a time; `opened` sees each new one first."""

    def __init__(
        self,
        location: PostgresLocation,
        opened: Callable[[Connection], None],
        limit_s: float = CALL_S,
    ) -> None:
        """Prepare to connect; nothing is opened yet."""
        self.location = location
        self._opened, self._limit_s = opened, limit_s
        self._connection: Connection | None = None
        self._until_s, self._is_late = float("inf"), False
        self._end = threading.Event()
        self._watch = threading.Thread(target=self._watch_calls, name="postgres", daemon=True)

    @property
    def is_connected(self) -> bool:
        """Whether the connection was whole when it was used last."""
        return self._connection is not None and not self._connection.closed

    def connect(self) -> Connection:
        """Return the connection, made anew after a loss.

        Raises:
            StoreError: the engine cannot be reached, or refuses.
        """
        if self._connection and not self._connection.closed:
            return self._connection
        if self._end.is_set():
            raise StoreError(f"{self.location}: the store is closed")
        if not self._watch.is_alive():
            self._watch.start()
        with self.call(_UNREACHED):
            self._connection = connection = _dial(self.location)
        try:
            with self.call(LOST):
                _check(connection, self.location)
                self._opened(connection)
        except BaseException:
            connection.close()
            raise
        return connection

    def read(self, query: LiteralString, arguments: Sequence[object] = ()) -> list[tuple[Any, ...]]:
        """Return the rows of a query, on a new connection if the last was lost.

        Raises:
            StoreError: the engine failed.
        """
        with self.call(LOST):
            return self._first(query, arguments).fetchall()

    def begin(self) -> Connection:
        """Begin a transaction, on a new connection if the last one was lost since.

        Raises:
            StoreError: the engine failed.
        """
        with self.call(LOST):
            self._first("BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE", ())
        return self.connect()

    def _first(
        self, query: LiteralString, arguments: Sequence[object]
    ) -> psycopg.Cursor[tuple[Any, ...]]:
        """Run the first statement of a call, twice if need be: that does no harm."""
        was_open = self.is_connected
        connection = self.connect()
        try:
            return connection.execute(query, arguments)
        except psycopg.OperationalError:
            if not (was_open and connection.closed and not self._is_late):
                raise
        return self.connect().execute(query, arguments)

    def roll_back(self) -> None:
        """Undo the transaction under way; a lost connection has done so."""
        with suppress(psycopg.Error, StoreError), self.call(LOST):
            if self._connection and not self._connection.closed:
                self._connection.execute("ROLLBACK")

    @contextmanager
    def call(self, hint: str) -> Iterator[None]:
        """Bound a call, and turn its errors into a StoreError that names the engine.

        The `hint` follows the reason if the connection was lost.
        """
        is_outer = self._until_s == float("inf")
        if is_outer:
            self._is_late, self._until_s = False, time.monotonic() + self._limit_s
        try:
            yield
        except psycopg.Error as error:
            is_lost = self._connection is None or self._connection.closed
            raise self._explained(error, hint if is_lost else "") from error
        finally:
            if is_outer:
                self._until_s = float("inf")

    def _explained(self, error: psycopg.Error, hint: str) -> StoreError:
        text = " ".join((error.diag.message_primary or str(error)).split())[:_MOST_TEXT]
        text = _WRAPPING.sub("", text)
        if self._is_late:
            text = f"no answer within {self._limit_s:g} s"
        state = error.sqlstate or next((_TEXTS[part] for part in _TEXTS if part in text), "")
        found = next((_HINTS[start] for start in _HINTS if state.startswith(start)), "")
        return StoreError(f"{self.location}: {text}; {found or hint or 'nothing was changed'}")

    def _watch_calls(self) -> None:
        """Cut the connection of a call that has lasted too long; psycopg waits for ever."""
        while not self._end.wait(min(1.0, self._limit_s / 4)):
            if time.monotonic() > self._until_s:
                self._is_late = True
                self.cut()

    def cut(self) -> None:
        """Shut the connection's socket, from any thread: a call that waits for it fails."""
        connection = self._connection
        if connection is None:
            return
        with (
            suppress(OSError, psycopg.Error),
            socket.fromfd(connection.fileno(), socket.AF_INET, socket.SOCK_STREAM) as copy,
        ):
            copy.shutdown(socket.SHUT_RDWR)

    def drop(self) -> None:
        """Close the connection; the next call makes another."""
        if self._connection:
            self._connection.close()

    def close(self) -> None:
        """Close the connection for good."""
        self._end.set()
        self.drop()
