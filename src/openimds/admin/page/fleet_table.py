"""The fleet as a table: a row for each VM, kept until it changes.

10,000 VMs take too long to unpack for each page, and guests wait meanwhile. So a row is kept until
its VM changes, and the event loop gets its turn between slices of the work.
"""

import asyncio
from collections.abc import Callable, Iterator
from typing import Any

from msgspec import Struct

from openimds.fleet.selection import choose_names
from openimds.fleet.service import FleetService
from openimds.fleet.vm_entry import VmEntry
from openimds.vm.defaults import default_address, first_mac, private_addresses, text_at
from openimds.vm.selector import Selector, tags_of
from openimds.vm.types import Vm

SLICE = 40
"""So many VMs are read between two turns of the event loop."""
MOST_CHOICES = 16
"""Results of selectors that are kept for one generation of the fleet."""
SERVED, QUARANTINED = "served", "quarantined"


class VmSummary(Struct, frozen=True, kw_only=True):
    """A VM as a row of the table.

    `reached` are its addresses and listeners, `interface` that of the host and `identities` their
    number in words: these need the role `admin`. `text` is what a search looks through.
    """

    name: str
    state: str = SERVED
    reason: str = ""
    size: str = ""
    location: str = ""
    zone: str = ""
    address: str = ""
    mac: str = ""
    tags: str = ""
    host: str = ""
    reached: str = ""
    interface: str = ""
    identities: str = ""
    text: str = ""


class FleetTable:
    """The rows of all VMs of a fleet, by name."""

    def __init__(self, fleet_service: FleetService) -> None:
        """Begin without rows."""
        self._fleet_service, self._index = fleet_service, fleet_service.fleet_index
        self._generation = -1
        self._packed: dict[str, bytes] = {}
        self._rows: dict[str, VmSummary] = {}
        self._sorted: list[VmSummary] = []
        self._chosen: dict[str, frozenset[str]] = {}
        self._turn = asyncio.Lock()

    async def rows(self) -> list[VmSummary]:
        """Return the rows in the order of their names."""
        async with self._turn:
            if self._generation != self._index.generation:
                await self._refresh()
            return self._sorted

    async def chosen(self, selector: Selector) -> frozenset[str]:
        """Return the names of the VMs that a selector chooses."""
        await self.rows()
        async with self._turn:
            known = self._chosen.get(selector.text)
            if known is not None:
                return known
            names = frozenset(await choose_names(self._fleet_service, selector))
            if len(self._chosen) >= MOST_CHOICES:
                del self._chosen[next(iter(self._chosen))]
            self._chosen[selector.text] = names
            return names

    async def _refresh(self) -> None:
        generation = self._index.generation
        packed: dict[str, bytes] = {}
        rows: dict[str, VmSummary] = {}
        for part in _slices([*self._index.by_name.values()]):
            is_new = False
            for entry in part:
                is_known = self._packed.get(entry.name) is entry.packed
                is_new |= not is_known
                rows[entry.name] = self._rows[entry.name] if is_known else _summary(entry)
                packed[entry.name] = entry.packed
            if is_new:
                await asyncio.sleep(0)
        for name, absent in self._index.quarantine.items():
            rows[name] = VmSummary(
                name=name, state=QUARANTINED, reason=absent.reason, text=name.lower()
            )
        self._packed, self._rows = packed, rows
        self._sorted = [rows[name] for name in sorted(rows)]
        self._chosen.clear()
        self._generation = generation


def _slices(entries: list[VmEntry[Any]]) -> Iterator[list[VmEntry[Any]]]:
    for at in range(0, len(entries), SLICE):
        yield entries[at : at + SLICE]


def _summary(entry: VmEntry[Any]) -> VmSummary:
    vm, claims = entry.vm, entry.claims
    size, location = text_at(vm, "compute.vmSize"), text_at(vm, "compute.location")
    address = ", ".join(private_addresses(vm)) or default_address(vm)
    tags = ", ".join(f"{name}:{value}" for name, value in tags_of(vm))
    searched = (vm.name, size, location, address, tags, vm.host)
    return VmSummary(
        name=vm.name,
        size=size,
        location=location,
        zone=text_at(vm, "compute.zone"),
        address=address,
        mac=first_mac(vm),
        tags=tags,
        host=" → ".join(filter(None, (vm.host, vm.next_host))),
        reached=", ".join((*claims.addresses, *claims.listeners)),
        interface=vm.reach.interface,
        identities=_identities(vm),
        text="\n".join(searched).lower(),
    )


def _identities(vm: Vm) -> str:
    found = ["system"] if vm.identities.system else []
    if vm.identities.user:
        found.append(f"{len(vm.identities.user)} user")
    return ", ".join(found)


SORTS: dict[str, Callable[[VmSummary], Any]] = {
    "name": lambda row: row.name,
    "state": lambda row: (row.state == SERVED, row.name),
    "size": lambda row: (row.size.lower(), row.name),
    "location": lambda row: (row.location, row.zone, row.name),
    "host": lambda row: (row.host, row.name),
}
"""The columns by which the table can be sorted, with their keys."""
