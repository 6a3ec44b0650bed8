import pytest

from openimds.fleet.store.port import StoreError
from openimds.fleet.store.postgres.location import PostgresLocation
from openimds.fleet.store.postgres.session import PostgresSession


def test_session_without_a_connection_has_none_to_cut() -> None:
    session = PostgresSession(PostgresLocation("127.0.0.1", "1", "fleet"), lambda _: None)
    session.cut()
    session.drop()
    with pytest.raises(StoreError, match="start the engine, or mend the way to it"):
        session.connect()
    session.roll_back()
    assert not session.is_connected
    session.close()
