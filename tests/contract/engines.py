"""Every store engine. A new one joins by one line in `ENGINES`."""

from collections.abc import Callable, Mapping
from pathlib import Path

from openimds.fleet.store.port import Store
from openimds.fleet.store.sqlite import MemoryStore, SqliteStore

ENGINES: Mapping[str, Callable[[Path], Store]] = {
    "memory": lambda _: MemoryStore(),
    "sqlite": lambda folder: SqliteStore(folder / "fleet.db"),
}
"""Open, or open again, the store that lives in a folder."""

LASTING = [name for name in ENGINES if name != "memory"]
"""Those that remember when they are opened again."""
