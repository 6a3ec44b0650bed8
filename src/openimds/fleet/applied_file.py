"""Entries of a file beside the store: which of them a new text has edited.

The store has each entry as last applied. An entry that is equal to it changes nothing, whether its
VM is as in the entry, was changed by the API, or was removed by it.
"""

from collections.abc import Iterable, Iterator, Sequence
from collections.abc import Set as AbstractSet
from enum import Enum
from functools import partial
from hashlib import blake2b
from sys import intern
from typing import Any, TypeVar

import msgspec.json
from msgspec import Struct, field

from openimds.errors import BAD_JSON, ConfigError
from openimds.fleet.entry_edit import edited
from openimds.fleet.store.port import (
    API,
    DEFAULT,
    AppliedEntry,
    Store,
    StoredVm,
    Write,
)
from openimds.vm.fleet_file import parse_vm
from openimds.vm.serialize import encode_vm
from openimds.vm.types import Vm

T = TypeVar("T")
_PAGE = 5000
_hash = partial(blake2b, digest_size=16)
"""Digests by which the bodies of VMs are compared."""
_NOT_KNOWN = b""


class EntryEffect(Enum):
    """The effect of an entry: none, a new VM, or changed leaves of one."""

    NONE = "none"
    MAKE = "make"
    EDIT = "edit"


class StoredFleet(Struct, frozen=True):
    """The VMs of a store and the applied entries of one origin, without bodies.

    By name, `owners` has the origin of each VM, `bodies` a digest of its body, `applied` one of
    each applied entry, empty if that is not known. `text` is that of `AppliedFile`.
    """

    origin: str
    text: bytes = b""
    owners: dict[str, str] = field(default_factory=dict)
    bodies: dict[str, bytes] = field(default_factory=dict)
    applied: dict[str, bytes] = field(default_factory=dict)

    def effect(self, name: str, entry: bytes, text: bytes) -> EntryEffect:
        """Return the effect of an entry, by its digest, in a file with this text.

        An untouched text has none, whichever release wrote down its entries.
        """
        owner, known = self.owners.get(name), self.applied.get(name)
        if owner not in (None, API, self.origin):
            return EntryEffect.MAKE
        if known is None:
            if owner == self.origin:
                return EntryEffect.NONE
            return EntryEffect.MAKE if owner is None else EntryEffect.EDIT
        if known in (entry, _NOT_KNOWN) or (text and text == self.text):
            return EntryEffect.NONE
        return EntryEffect.MAKE if owner is None else EntryEffect.EDIT

    def removed(self, names: AbstractSet[str]) -> set[str]:
        """Return the VMs to remove where a file names these alone."""
        ends = (self.origin, DEFAULT)
        return {name for name, owner in self.owners.items() if owner in ends and name not in names}


def read_stored_fleet(store: Store, origin: str) -> StoredFleet:
    """Read the store for a comparison with a file of an origin.

    Raises:
        StoreError: the store cannot be read.
    """
    fleet = StoredFleet(origin, store.applied_text(origin))
    after = ""
    while page := store.page(after, _PAGE):
        after = page[-1].name
        for vm in page:
            fleet.owners[vm.name] = intern(vm.origin)
            fleet.bodies[vm.name] = _hash(vm.body).digest()
    after = ""
    while entries := store.applied_entries(after, _PAGE):
        after = entries[-1].name
        for entry in entries:
            if entry.origin == origin:
                fleet.applied[entry.name] = _digest_of(entry)
    return fleet


def _digest_of(entry: AppliedEntry) -> bytes:
    """Return the digest of an applied entry, empty if that is not known."""
    return _NOT_KNOWN if entry.body is None else _hash(entry.body).digest()


def read_stored_part(store: Store, origin: str, names: Iterable[str]) -> StoredFleet:
    """Read the VMs and entries of these names for a comparison.

    Raises:
        StoreError: the store cannot be read.
    """
    fleet = StoredFleet(origin, store.applied_text(origin))
    for name in names:
        if vm := store.get(name):
            fleet.owners[name] = intern(vm.origin)
            fleet.bodies[name] = _hash(vm.body).digest()
        entry = store.applied_entry(name)
        if entry and entry.origin == origin:
            fleet.applied[name] = _digest_of(entry)
    return fleet


class Row(Struct, frozen=True):
    """A stored VM, and its entry as last applied."""

    vm: StoredVm
    applied: AppliedEntry | None


def read_rows(store: Store, names: Sequence[str]) -> list[Row]:
    """Read the rows of these names that exist.

    Raises:
        StoreError: the store cannot be read.
    """
    return [Row(vm, store.applied_entry(vm.name)) for vm in store.get_many(names)]


def batches(items: Sequence[T], size: int) -> Iterator[Sequence[T]]:
    """Yield items in groups of a size."""
    return (items[at : at + size] for at in range(0, len(items), size))


class FileComparison:
    """The entries of a file, compared one by one with the store.

    `unresolved` has the entries, by name, that need the row of their VM: those with an edit, and
    those of VMs that are not served. `firm` are the VMs that are as in the file; `writes` are the
    changes to make of them, `others` those of other VMs. `entries` are the new records of the
    entries, as in `AppliedFile`. `notices` are sentences for the operator.
    """

    def __init__(self, stored: StoredFleet, text: bytes, not_served: AbstractSet[str]) -> None:
        """Begin without entries; `text` is the digest of the file."""
        self.unresolved: dict[str, bytes] = {}
        self.firm: set[str] = set()
        self.notices: list[str] = []
        self._stored, self._text, self._not_served = stored, text, not_served
        self.writes: list[Write] = []
        self.others: list[Write] = []
        self.entries: dict[str, bytes | None] = {}

    def add(self, name: str, entry: bytes) -> None:
        """Compare an entry."""
        stored, seen = self._stored, _hash(entry).digest()
        effect = stored.effect(name, seen, self._text)
        if stored.applied.get(name) != seen:
            self.entries[name] = entry
        if effect is EntryEffect.MAKE:
            self.writes.append(Write(name, entry, stored.origin))
        elif effect is EntryEffect.EDIT or name in self._not_served:
            self.unresolved[name] = entry
        if effect is EntryEffect.MAKE or stored.bodies.get(name) == seen:
            self.firm.add(name)

    def resolve(self, row: Row, vm: Vm) -> Vm:
        """Return an unresolved VM with its edit; `vm` is as in the file.

        It is returned where the row is damaged, or where the edit does not fit it.
        """
        name, entry = row.vm.name, self.unresolved[row.vm.name]
        try:
            result = self._edited(row, entry)
            body = encode_vm(result)
        except (*BAD_JSON, ConfigError) as error:
            result, body = vm, entry
            if row.vm.origin != DEFAULT:
                self.notices.append(
                    f"{name}: its changes by the API cannot be kept ({error}), so the VM is as in "
                    "the file"
                )
        if body == entry:
            self.firm.add(name)
        if body != row.vm.body or name in self._not_served:
            writes = self.writes if body == entry else self.others
            writes.append(Write(name, body, self._stored.origin, None, frozenset()))
        return result

    def _edited(self, row: Row, entry: bytes) -> Vm:
        """Return a stored VM with the edit of its entry, if there is one.

        Raises:
            ConfigError: the stored body is of another release, or the edit does not fit it.
            ValueError: the row is damaged.
        """
        name, seen = row.vm.name, _hash(entry).digest()
        members = msgspec.json.decode(row.vm.body, type=dict[str, Any])
        vm = parse_vm(name, members, is_stored=True)
        if self._stored.effect(name, seen, self._text) is not EntryEffect.EDIT:
            return vm
        applied, before = row.applied, {}
        if applied and applied.body is not None and applied.origin == self._stored.origin:
            before = msgspec.json.decode(applied.body, type=dict[str, Any])
        members = edited(members, before, msgspec.json.decode(entry))
        return parse_vm(name, members, is_stored=True)

    def end(self, names: AbstractSet[str]) -> None:
        """Forget the entries of all VMs but these, which the file names."""
        self.entries |= dict.fromkeys(self._stored.applied.keys() - names)

    @property
    def is_recorded(self) -> bool:
        """Whether the store has nothing new to record; the default VM is in no file."""
        stored = self._stored
        is_same = not self.entries and self._text == stored.text
        return is_same or stored.origin == DEFAULT
