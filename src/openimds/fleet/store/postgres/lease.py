"""The lease that names the control that leads, with an epoch that every write checks.

The engine's clock decides when a lease ends, so that the clocks of machines need not agree. Each
take-over has a higher epoch; a control that was stopped for a while meets another one, and writes
nothing. A lease has a connection of its own: no large write delays its renewal.
"""

from collections.abc import Iterator
from contextlib import contextmanager

from msgspec import Struct

from openimds.fleet.store.port import FencedError
from openimds.fleet.store.postgres.fencing import CONTROL, END_EPOCH
from openimds.fleet.store.postgres.location import PostgresLocation
from openimds.fleet.store.postgres.schema import bring_up_to_date, check_steps
from openimds.fleet.store.postgres.session import LOST, Connection, PostgresSession

CALL_S = 6.0
"""The most time of a call about a lease: a little more than it waits for a write under way."""
_TAKE = """
    UPDATE lease SET holder = %s, url = %s,
        until = clock_timestamp() + make_interval(secs => %s),
        epoch = greatest(epoch + 1, floor(1000 * extract(epoch FROM clock_timestamp())))
    WHERE name = %s
    RETURNING epoch
"""
"""An epoch is at least the time in milliseconds: an engine that lost the last take-over, because a
replica that lagged was promoted, gives no epoch a second time."""


class LeaseHolder(Struct, frozen=True):
    """The control that leads, and the time that it has left by the engine's clock."""

    holder: str
    url: str
    epoch: int
    left_s: float


class Lease:
    """The lease of a store, used from one thread at a time."""

    def __init__(self, location: PostgresLocation, limit_s: float = CALL_S) -> None:
        """Connect, and make the tables of a new store; existing ones stay.

        Raises:
            StoreError: the engine cannot be reached, or the store is from a later release.
        """
        self.location = location
        self._epoch = -1  # No lease ever has it.
        self._session = PostgresSession(
            location, lambda connection: bring_up_to_date(connection, location, None), limit_s
        )
        try:
            self._session.connect()
        except BaseException:
            self._session.close()
            raise

    def take(self, holder: str, url: str, ttl_s: float) -> int | None:
        """Take a free lease, or the one of this name; return its epoch.

        The name is that of one process, not of a machine: a second process of the same name takes
        the lease from the first. A write under way is waited for. None tells that another leads.

        Raises:
            StoreError: the engine failed, or the store is from a later release.
        """
        with self._transaction() as connection:
            free = connection.execute(
                "SELECT FROM lease WHERE name = %s "
                "AND (until <= clock_timestamp() OR holder = %s) FOR UPDATE",
                (CONTROL, holder),
            ).fetchone()
            if free is None:
                return None
            check_steps(connection, self.location)
            taken = connection.execute(_TAKE, (holder, url, ttl_s, CONTROL)).fetchone()
            assert taken, "its row is locked"
        self._epoch = int(taken[0])
        return self._epoch

    def renew(self, ttl_s: float) -> None:
        """Hold the lease from now on, also while a write is under way.

        Raises:
            FencedError: it was released, or another control took it over.
            StoreError: the engine failed.
        """
        rows = self._session.read(
            "UPDATE lease SET until = clock_timestamp() + make_interval(secs => %s) "
            "WHERE name = %s AND epoch = %s RETURNING epoch",
            (ttl_s, CONTROL, self._epoch),
        )
        if not rows:
            leader = self.holder()
            other = f"{leader.holder} at {leader.url} leads" if leader else "no control leads"
            raise FencedError(
                f"{self.location}: epoch {self._epoch} of the lease has ended; {other}"
            )

    def release(self) -> None:
        """End the lease, if it is held still; later writes of its epoch are refused.

        Raises:
            StoreError: the engine failed.
        """
        with self._transaction() as connection:
            # The lock waits for a write under way; an update of these columns alone would not.
            connection.execute(
                "SELECT epoch FROM lease WHERE name = %s AND epoch = %s FOR UPDATE",
                (CONTROL, self._epoch),
            )
            connection.execute(END_EPOCH, (CONTROL, self._epoch))

    def holder(self) -> LeaseHolder | None:
        """Return the control that leads, or None.

        Raises:
            StoreError: the engine failed.
        """
        rows = self._session.read(
            "SELECT holder, url, epoch, extract(epoch FROM until - clock_timestamp())::float8 "
            "FROM lease WHERE name = %s AND until > clock_timestamp()",
            (CONTROL,),
        )
        return LeaseHolder(*rows[0]) if rows else None

    @contextmanager
    def _transaction(self) -> Iterator[Connection]:
        with self._session.call(LOST):
            connection = self._session.begin()
            try:
                yield connection
                connection.execute("COMMIT")
            except BaseException:
                self._session.roll_back()
                raise

    def close(self) -> None:
        """Close the connection; the lease is held until its end."""
        self._session.close()
