"""The look into the store before many VMs are removed from a host."""

from collections.abc import Sequence
from collections.abc import Set as AbstractSet

from openimds.errors import ConfigError
from openimds.fleet.applied_file import batches
from openimds.fleet.placement import hosts_of
from openimds.fleet.service import FleetService
from openimds.fleet.store.port import Store, StoredVm
from openimds.fleet.stored_bodies import decode_vm

NAMES_AT_ONCE = 200
"""So many VMs are read in one call; calls of others come between two."""


async def stored_on(service: FleetService, names: AbstractSet[str], host: str) -> AbstractSet[str]:
    """Return those of some VMs that the store has on a host after all.

    Raises:
        StoreError: the store cannot be read.
    """
    found = set[str]()
    for part in batches(sorted(names), NAMES_AT_ONCE):
        found |= await service.call_store(_read, service.store, part, host)
    return found


def _read(store: Store, names: Sequence[str], host: str) -> set[str]:
    return {stored.name for stored in store.get_many(names) if host in _hosts_of(stored)}


def _hosts_of(stored: StoredVm) -> tuple[str, ...]:
    """Return the hosts of a stored VM; none if it cannot be read."""
    try:
        return hosts_of(decode_vm(stored))
    except ConfigError:
        return ()
