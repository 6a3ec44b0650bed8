"""Every store engine. A new engine joins by one line in `ENGINES`."""

from collections.abc import Callable, Mapping
from pathlib import Path

from openimds.fleet.store.port import Store
from openimds.fleet.store.postgres.store import PostgresStore
from openimds.fleet.store.sqlite import MemoryStore, SqliteStore
from tests.support.postgres import shared_cluster

ENGINES: Mapping[str, Callable[[Path], Store]] = {
    "memory": lambda _: MemoryStore(),
    "sqlite": lambda folder: SqliteStore(folder / "fleet.db"),
    "postgres": lambda folder: PostgresStore(shared_cluster().location(folder)),
}
"""Each opens, or reopens, the store in a folder."""

LASTING = [name for name in ENGINES if name != "memory"]
"""The engines whose content survives reopening."""
