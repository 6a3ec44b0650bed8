"""The values of a store, for the mirror of keys and the register of leaves."""

from collections.abc import Mapping
from threading import Lock

from openimds.fleet.store.port import EventBatch, Store

LEAVES = "host-leaves/"
"""Before the name of a host: the key of its leaves."""


class StoreValues:
    """The values of a store; for any thread."""

    def __init__(self, store: Store) -> None:
        """Take a store that nothing else uses; calls come one at a time."""
        self._store, self._lock = store, Lock()

    def get(self, key: str) -> bytes | None:
        """Return a value, or None.

        Raises:
            StoreError: the store cannot be read.
        """
        with self._lock:
            return self._store.value(key)

    def put(self, key: str, value: bytes) -> None:
        """Store a value.

        Raises:
            StoreError: the store cannot be written, or another control leads.
        """
        with self._lock:
            self._store.write_events(EventBatch(values={key: value}))

    def leaves(self) -> "LeavesInStore":
        """Return the leaves of hosts among the values."""
        return LeavesInStore(self._store, self._lock)


class LeavesInStore:
    """The leaves of hosts in a store, as `LeafValues`; for any thread."""

    def __init__(self, store: Store, lock: Lock) -> None:
        """Take a store whose calls come one at a time, by a lock."""
        self._store, self._lock = store, lock

    def load(self) -> dict[str, bytes]:
        """Return the values of all hosts.

        Raises:
            StoreError: the store cannot be read.
        """
        with self._lock:
            stored = self._store.values(LEAVES)
        return {key.removeprefix(LEAVES): value for key, value in stored.items()}

    def put(self, values: Mapping[str, bytes | None]) -> None:
        """Store the values of some hosts together.

        Raises:
            StoreError: the store cannot be written, or another control leads.
        """
        batch = EventBatch(values={LEAVES + host: value for host, value in values.items()})
        with self._lock:
            self._store.write_events(batch)
