from types import SimpleNamespace
from typing import Any

import psycopg
import pytest

from openimds.fleet.store.postgres.pooler import changes_connections


class _Session:
    """A session that names process 1 of the engine, and is served by process 2."""

    info = SimpleNamespace(backend_pid=1)

    def execute(self, *_: Any) -> "_Session":
        return self

    def fetchone(self) -> tuple[str, int]:
        return "", 2


def dial() -> Any:
    raise psycopg.OperationalError("sorry, too many clients already")


def test_failure_of_a_second_session_is_not_taken_for_a_pooler() -> None:
    session: Any = _Session()
    with pytest.raises(psycopg.OperationalError, match="too many clients"):
        changes_connections(session, dial)
