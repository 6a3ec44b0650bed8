"""Detection of a pooler that gives each transaction another connection of the engine.

Behind such a pooler a session has no settings, so that limits and the schema would be those of
another. It tells clients a process of its own making: if that is the engine's, nothing is between.
A pooler that keeps a connection for a whole session does no harm, so two more steps look for a
setting that was lost, or that a second session sees.
"""

from collections.abc import Callable
from typing import Any, TypeAlias
from uuid import uuid4

import psycopg

_Connection: TypeAlias = psycopg.Connection[tuple[Any, ...]]
_ROUNDS = 3
_STATEMENT_MODE = "statement pooling mode"
"""A part of pgbouncer's refusal of every transaction."""
_MARK = "SELECT set_config('openimds.session', %s, false), pg_backend_pid()"
_SEEN = "SELECT current_setting('openimds.session', true)"


def changes_connections(connection: _Connection, dial: Callable[[], _Connection]) -> bool:
    """Tell whether a session of `connection` may lose its settings; `dial` makes a second one.

    Raises:
        psycopg.Error: the engine failed.
    """
    mark = uuid4().hex
    row = connection.execute(_MARK, (mark,)).fetchone()
    assert row, "a query of functions has one row"
    if row[1] == connection.info.backend_pid:
        return False
    try:
        return any(_is_lost(connection, dial, mark) for _ in range(_ROUNDS))
    except psycopg.Error as error:
        if _STATEMENT_MODE in str(error):
            return True
        raise


def _is_lost(connection: _Connection, dial: Callable[[], _Connection], mark: str) -> bool:
    """Tell whether another session has the connection of the mark."""
    with dial() as other, other.transaction():
        # A pool lends first the connection that came back last: that of the mark.
        return _value(other) == mark or _value(connection) != mark


def _value(connection: _Connection) -> object:
    row = connection.execute(_SEEN).fetchone()
    return row and row[0]
