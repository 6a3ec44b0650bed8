"""Ends the shared PostgreSQL of the process with its tests; has a lease in it."""

from collections.abc import Iterator

import pytest

from openimds.fleet.store.postgres.lease import Lease
from openimds.fleet.store.postgres.location import PostgresLocation
from tests.support.postgres import end_shared_cluster


@pytest.fixture(scope="session", autouse=True)
def ended_cluster() -> Iterator[None]:
    yield
    end_shared_cluster()


@pytest.fixture
def lease(location: PostgresLocation) -> Iterator[Lease]:
    opened = Lease(location)
    yield opened
    opened.close()
