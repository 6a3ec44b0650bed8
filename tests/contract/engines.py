"""Every store engine. A new engine joins by one line in `ENGINES`."""

from collections.abc import Callable, Mapping
from pathlib import Path

from openimds.fleet.store.port import Store
from openimds.fleet.store.sqlite import MemoryStore, SqliteStore

ENGINES: Mapping[str, Callable[[Path], Store]] = {
    "memory": lambda _: MemoryStore(),
    "sqlite": lambda folder: SqliteStore(folder / "fleet.db"),
}
"""Each opens, or reopens, the store in a folder."""

LASTING = [name for name in ENGINES if name != "memory"]
"""The engines whose content survives reopening."""
