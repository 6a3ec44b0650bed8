"""The VMs of a fleet that a selector chooses, found between the requests of guests.

A fleet may have 100,000 VMs: names are compared and VMs are unpacked in slices, and the event loop
does other work after each. VMs that are put or removed meanwhile may be in the result or not.
"""

import asyncio
from collections.abc import AsyncIterator, Iterable, Iterator
from heapq import merge
from itertools import islice

from msgspec import Struct

from openimds.errors import ConfigError
from openimds.fleet.service import FleetService
from openimds.fleet.store.port import StoredVm
from openimds.fleet.stored_bodies import decode_vm
from openimds.vm.selector import Selector
from openimds.vm.types import Vm

NAMES_AT_ONCE = 1000
"""The names that are compared between two requests."""
VMS_AT_ONCE = 50
"""The VMs that are unpacked between two requests."""


class ChosenVm(Struct, frozen=True):
    """A VM that a selector chose; `vm` is None if its body is damaged."""

    name: str
    vm: Vm | None


async def choose(
    fleet_service: FleetService, selector: Selector, after: str = ""
) -> AsyncIterator[list[ChosenVm]]:
    """Yield the chosen VMs by name, those after `after`, in parts.

    Quarantined VMs are among them. A text such as `web[1]` that is the name of a VM means it alone.
    """
    index = fleet_service.fleet_index
    selector = selector.settled(lambda name: name in index.by_name or name in index.quarantine)
    names = await _fitting(fleet_service, selector, after)
    while part := [*islice(names, VMS_AT_ONCE)]:
        found = [one async for one in _read(fleet_service, part) if _is_chosen(selector, one)]
        if found:
            yield found
        await asyncio.sleep(0)  # Guests are answered between the slices.


async def choose_names(
    fleet_service: FleetService, selector: Selector, most: int | None = None
) -> list[str]:
    """Return the names of the chosen VMs in order, at most `most` of them."""
    names: list[str] = []
    async for part in choose(fleet_service, selector):
        names += [one.name for one in part]
        if most is not None and len(names) >= most:
            return names[:most]
    return names


async def _fitting(fleet_service: FleetService, selector: Selector, after: str) -> Iterator[str]:
    """Return the names that fit and follow `after`, in order."""
    index = fleet_service.fleet_index
    exact = next((one.names for one in selector.names if one.pattern is None), None)
    every: list[str] = [*(index.by_name if exact is None else exact), *index.quarantine]
    parts: list[list[str]] = []
    for start in range(0, len(every), NAMES_AT_ONCE):
        some = every[start : start + NAMES_AT_ONCE]
        parts.append(sorted({name for name in some if name > after and selector.fits(name)}))
        await asyncio.sleep(0)
    return _distinct(merge(*parts))


def _distinct(names: Iterable[str]) -> Iterator[str]:
    """Yield sorted names, each once."""
    last = None
    for name in names:
        if name != last:
            yield name
        last = name


async def _read(fleet_service: FleetService, names: list[str]) -> AsyncIterator[ChosenVm]:
    """Yield those of these VMs that exist; quarantined ones are read from the store."""
    index = fleet_service.fleet_index
    bad = [name for name in names if name in index.quarantine]
    rows = await fleet_service.call_store(fleet_service.store.get_many, bad) if bad else []
    stored = {row.name: row for row in rows}
    for name in names:
        if entry := index.by_name.get(name):
            yield ChosenVm(name, entry.vm)
        elif name in stored:
            yield ChosenVm(name, _decoded(stored[name]))


def _decoded(row: StoredVm) -> Vm | None:
    try:
        return decode_vm(row)
    except ConfigError:
        return None


def _is_chosen(selector: Selector, one: ChosenVm) -> bool:
    """Tell whether a VM whose name fits is chosen; an unreadable one fulfils no term."""
    return not selector.terms or (one.vm is not None and selector.matches(one.vm))
