"""PostgreSQL as the engine of many controls."""

from openimds.fleet.store.postgres.lease import Lease
from openimds.fleet.store.postgres.location import PostgresLocation, locate
from openimds.fleet.store.postgres.store import PostgresStore


class PostgresEngine:
    """The database that a URL names."""

    def __init__(self, url: str, password_file: str = "") -> None:
        """Take a URL such as `postgresql://openimds@db-1/openimds`, and the file of a password.

        Raises:
            ConfigError: as `locate`.
        """
        self._location: PostgresLocation = locate(url, password_file)

    def open_lease(self) -> Lease:
        """Open the lease.

        Raises:
            StoreError: the engine cannot be reached, or the store is of a later release.
        """
        return Lease(self._location)

    def open_store(self, epoch: int, writer: str = "fleet") -> PostgresStore:
        """Open the store as the leader of an epoch; `writer` names this opening of several.

        Raises:
            StoreError: the engine cannot be reached, or another control leads.
        """
        return PostgresStore(self._location, epoch, writer=writer)
