"""The fleet index, its updates, and the way from a caller to its VM."""

from collections.abc import Callable, Iterable, Mapping
from collections.abc import Set as AbstractSet
from enum import Enum
from typing import Generic, TypeVar

import msgspec.msgpack
from msgspec import Struct

from openimds.errors import ConfigError
from openimds.facts.clouds import PUBLIC
from openimds.facts.versions import Catalog
from openimds.fleet.address_claims import AddressClaims, ClaimTable, claims_of, given_way, plain
from openimds.fleet.quarantine import QuarantinedVm, quarantined
from openimds.fleet.response_cache import ResponseCache
from openimds.fleet.vm_entry import PackedVm, VmEntry, pack, recent
from openimds.vm.identities import needs_entra, tenant_of
from openimds.vm.types import Vm

R = TypeVar("R")
VM_LISTENER = "\0vm:"
"""Before the name of a VM: an inherited listener that belongs to that VM.

The text of a configured listener is printable, such as `vm:80` for a host named vm.
"""

_unpack_block = msgspec.msgpack.Decoder(list[PackedVm]).decode
_BLOCK = 1000
"""So many packed VMs are one block of bytes, which the allocator keeps apart from small objects."""


class Precedence(Enum):
    """The VM that gives way where a planned VM claims what another has.

    REFUSED: neither, the plan fails. PRESENT: the planned one is quarantined. PLANNED: the other.
    """

    REFUSED = "refused"
    PRESENT = "present"
    PLANNED = "planned"


class IndexUpdate(Struct, frozen=True):
    """A planned change of the fleet index without conflicts: VMs to put, names to remove.

    `listeners` are all that exist after the update, with the names of their VMs; `clouds` and
    `has_identities` are those of the VMs to put, as in the index. `quarantined` are VMs that the
    update takes out of service, or cannot take.
    """

    puts: dict[str, PackedVm]
    removes: frozenset[str]
    listeners: dict[str, str]
    clouds: dict[str, str]
    has_identities: bool
    quarantined: dict[str, QuarantinedVm] = {}


class FleetIndex(Generic[R]):
    """Every VM of a fleet, by name, by source address and by listener.

    `only` answers every caller: the VM of a fleet of one, if it has no `reach`; of this machine
    alone, if it has tokens of Entra. `generation` grows with every update. `clouds` maps the
    tenants outside the public cloud to their clouds. `homes` maps addresses to the name of the VM
    that they reach while it has no `reach.address` and no other VM claims them: in a test, the
    addresses of the test's own process. `quarantine` has the stored VMs that are not served: with
    one of them, the fleet is larger than one.
    """

    def __init__(
        self,
        catalog: Catalog,
        max_bytes: int,
        claims: Callable[[Vm], AddressClaims] = claims_of,
    ) -> None:
        """Start without VMs; cache at most `max_bytes` of prepared responses.

        `claims` returns what a VM claims, or raises ConfigError.
        """
        self._claims_of = claims
        self.catalog = catalog
        self.response_cache: ResponseCache[R] = ResponseCache(max_bytes)
        self.generation = 0
        self.by_name: dict[str, VmEntry[R]] = {}
        self.only: VmEntry[R] | None = None
        self.homes: Mapping[str, str] = {}
        self.quarantine: dict[str, QuarantinedVm] = {}
        self.clouds: dict[str, str] = {}
        self.has_identities = False
        self._by_address: dict[str, VmEntry[R]] = {}
        self._by_listener: dict[str, str] = {}
        self._presumed: dict[str, list[VmEntry[R]]] = {}

    def entry_at(self, address: str, *, is_beyond: bool = False) -> VmEntry[R] | None:
        """Return the VM at a source address, written as a socket gives it, or None.

        With `is_beyond` the caller is not on this machine.
        """
        only = self.only
        if only is not None and not (is_beyond and needs_entra(recent(only.packed))):
            return only
        return self._at(address) or self._at(plain(address))

    def entry_of(self, listener: str) -> VmEntry[R] | None:
        """Return the VM that a listener belongs to, or None."""
        if listener.startswith(VM_LISTENER):
            return self.by_name.get(listener.removeprefix(VM_LISTENER))
        return self.by_name.get(self._by_listener.get(listener, ""))

    def sources_of(self, names: AbstractSet[str]) -> frozenset[str] | None:
        """Return the source addresses that belong to VMs of these names; None: every address."""
        if self.only is not None:
            return None if self.only.name in names else frozenset()
        found = [address for address, name in self.homes.items() if name in names]
        for name in names:
            if entry := self.by_name.get(name):
                found += [*entry.claims.addresses, entry.claims.presumed]
        owners = {address: self._at(address) for address in found if address}
        return frozenset(address for address, one in owners.items() if one and one.name in names)

    def _at(self, address: str) -> VmEntry[R] | None:
        configured = self._by_address.get(address)
        # Where two VMs share a default by chance, neither has it: it must not move between them.
        presumed = self._presumed.get(address, ())
        return configured or self._at_home(address) or (presumed[0] if len(presumed) == 1 else None)

    def _at_home(self, address: str) -> VmEntry[R] | None:
        entry = self.by_name.get(self.homes.get(address, ""))
        return entry if entry and recent(entry.packed).reach.address is None else None

    def plan(
        self,
        puts: Iterable[Vm],
        removes: Iterable[str] = (),
        precedence: Precedence = Precedence.REFUSED,
        firm: AbstractSet[str] = frozenset(),
        yielding: AbstractSet[str] = frozenset(),
    ) -> IndexUpdate:
        """Return the update that makes all these changes together; it does not hold the VMs.

        With the precedence PRESENT, the VMs to put must not be in the index. The VMs in `firm` give
        way to none; those in `yielding`, which come last, are quarantined instead of refused.

        Raises:
            ConfigError: two VMs would claim one address or listener and neither gives way, or an
                address is invalid (not with PRESENT, which quarantines its VM).
        """
        new: dict[str, PackedVm] = {}
        clouds: dict[str, str] = {}
        has_identities = False
        bad: dict[str, QuarantinedVm] = {}
        for vm in puts:
            try:
                claims = self._claims_of(vm)
            except ConfigError as error:
                if precedence is not Precedence.PRESENT and vm.name not in yielding:
                    raise
                bad[vm.name] = quarantined(vm.name, error)
                continue
            new[vm.name] = PackedVm(vm.name, pack(vm), claims)
            has_identities |= vm.identities.system or bool(vm.identities.user)
            if vm.cloud != PUBLIC:
                clouds[tenant_of(vm)] = vm.cloud
        gone = frozenset(removes)
        table = ClaimTable(self.by_name, self._by_address, self._by_listener, new.keys() | gone)
        for name, packed in [*new.items()]:
            while taken := table.taken(name, packed.claims):
                is_fixed = taken.other in new or taken.other in firm
                if precedence is not Precedence.PLANNED or is_fixed:
                    if precedence is not Precedence.PRESENT and name not in yielding:
                        raise taken
                    bad[name] = quarantined(name, taken)
                    del new[name]
                    break
                bad[taken.other] = quarantined(taken.other, given_way(taken))
                table.free(taken.other)
            else:
                table.claim(name, packed.claims)
        return IndexUpdate(new, gone, table.listeners, clouds, has_identities, bad)

    def apply(self, update: IndexUpdate) -> None:
        """Apply a planned update; it takes effect with the next request of every connection."""
        for name in update.puts.keys() | update.removes | update.quarantined.keys():
            self._unlink(name)
            self.quarantine.pop(name, None)
        for name, vm in update.puts.items():
            entry = self.by_name.get(name)
            if entry is None:
                entry = self.by_name[name] = VmEntry(vm)
            else:
                entry.replace(vm)
            self._link(entry)
        self.clouds.update(update.clouds)
        self.has_identities |= update.has_identities
        for name in update.removes | update.quarantined.keys():
            self.by_name.pop(name, None)
        self.quarantine |= update.quarantined
        self._by_listener = update.listeners
        self.only = self._find_only()
        self.generation += 1

    def _find_only(self) -> VmEntry[R] | None:
        """Return the VM that answers every caller; one with a `reach` answers its own alone."""
        is_alone = len(self.by_name) == 1 and not self.quarantine
        entry = next(iter(self.by_name.values())) if is_alone else None
        return entry if entry and entry.claims.is_open else None

    def clear_responses(self) -> None:
        """Drop every cached response, and do not cache those being made now."""
        for entry in self.by_name.values():
            self.response_cache.drop(entry.responses)
        self.generation += 1

    @property
    def listeners(self) -> dict[str, str]:
        """Every listener that belongs to a VM, with the VM's name."""
        return self._by_listener

    def reason_of(self, name: str) -> str:
        """Return why a stored VM is not served; nothing for others."""
        absent = self.quarantine.get(name)
        return absent.reason if absent else ""

    def returnable(self) -> list[str]:
        """Return the names of quarantined VMs whose claim no other VM has any longer."""
        return [
            vm.name
            for vm in self.quarantine.values()
            if vm.claim and vm.claim not in self._by_address and vm.claim not in self._by_listener
        ]

    def warnings(self) -> list[str]:
        """Return sentences for the operator about default addresses that other VMs have too."""
        warnings = []
        for address, entries in self._presumed.items():
            owner = self._by_address.get(address)
            for entry in entries:
                others = [other for other in ([owner] if owner else entries) if other is not entry]
                if others:
                    warnings.append(
                        f"{entry.name} has no address of its own: its default {address} is also "
                        f"that of {others[0].name}. Give it network.interface or reach"
                    )
        return warnings

    def compact(self) -> None:
        """Make all entries anew, close together; for the start of a server only.

        After a fleet is loaded, its entries are scattered over the memory of the parsed file, which
        cannot be freed. The new entries have full limits and no responses.
        """
        self.clear_responses()
        vms = [PackedVm(entry.name, entry.packed, entry.claims) for entry in self.by_name.values()]
        blocks = [pack(vms[at : at + _BLOCK]) for at in range(0, len(vms), _BLOCK)]
        vms.clear()
        self.by_name, self._by_address, self._presumed, self.only = {}, {}, {}, None
        for block in blocks:
            puts = {vm.name: vm for vm in _unpack_block(block)}
            self.apply(IndexUpdate(puts, frozenset(), self._by_listener, {}, has_identities=False))

    def _link(self, entry: VmEntry[R]) -> None:
        """Add the addresses of a VM."""
        claims = entry.claims
        for address in claims.addresses:
            self._by_address[address] = entry
        if claims.presumed:
            self._presumed.setdefault(claims.presumed, []).append(entry)

    def _unlink(self, name: str) -> None:
        """Remove the addresses and cached responses of a VM, but not its entry and limits."""
        entry = self.by_name.get(name)
        if entry is None:
            return
        claims = entry.claims
        for address in claims.addresses:
            # In an update of several parts, an earlier part may have given it to another VM.
            if self._by_address.get(address) is entry:
                del self._by_address[address]
        others = [other for other in self._presumed.pop(claims.presumed, ()) if other is not entry]
        if others:
            self._presumed[claims.presumed] = others
        self.response_cache.drop(entry.responses)
