"""The VMs of a test; guests see each change with their next request."""

from collections.abc import Iterator, Mapping
from typing import Any

import msgspec.json
from msgspec import to_builtins

from openimds.errors import ConfigError
from openimds.fleet.index import VmEntry
from openimds.parameters import nearest
from openimds.protocol.handle import instance_document
from openimds.server.server import Server
from openimds.testing.marks import with_addresses
from openimds.testing.server_thread import ServerThread
from openimds.vm.fleet_file import parse_vm

ACTOR = "test"
"""The author of changes in the audit log."""


class ServedVm:
    """One VM of the server by its name; it may still have to be put."""

    def __init__(self, vms: "Vms", name: str) -> None:
        """Take the name of the VM; nothing is changed or checked."""
        self.name = name
        self._vms = vms

    def __repr__(self) -> str:
        """Return the expression for it in a test."""
        return f"imds.vms[{self.name!r}]"

    @property
    def definition(self) -> dict[str, Any]:
        """The mapping under its name in a fleet file.

        Raises:
            ConfigError: there is no such VM.
        """
        definition: dict[str, Any] = msgspec.json.decode(self._vms.body(self.name))
        return definition

    @property
    def said(self) -> dict[str, Any]:  # words: a public name of 0.1.0
        """The name of `definition` in 0.1.0, until 1.0."""
        return self.definition

    def document(self, version: str = "") -> dict[str, Any]:
        """Return its instance document at an api-version, by default the newest.

        Raises:
            ConfigError: there is no such VM, or no such version.
        """
        return self._vms.document(self.name, version)

    @property
    def url(self) -> str:
        """The URL of the VM's own listener, if it has one; else `imds.url`."""
        return self._vms.url(self.name)

    def put(self, definition: Mapping[str, object]) -> None:
        """Create or replace the VM; the definition is as in a fleet file.

        Raises:
            ConfigError: unknown keys, wrong types, or an address that another VM has.
        """
        __tracebackhide__ = True
        self._vms[self.name] = definition

    def patch(self, patch: Mapping[str, object]) -> None:
        """Apply a merge patch (RFC 7396): a member replaces, None removes.

        Raises:
            ConfigError: as `put`, or there is no such VM.
        """
        __tracebackhide__ = True
        self._vms.patch(self.name, patch)

    def remove(self) -> None:
        """Remove the VM; its address becomes an unknown caller (404).

        Raises:
            ConfigError: there is no such VM.
        """
        __tracebackhide__ = True
        del self._vms[self.name]


class Vms:
    """Every VM of the server by name; `vms["web-2"] = {...}` adds one, `del` removes it.

    The VM under test is reached from `homes`, the source addresses of this process, unless its
    definition has addresses.
    """

    def __init__(
        self, thread: ServerThread, server: Server, under_test: str, homes: tuple[str, ...]
    ) -> None:
        """Take a server, its thread, and the VM under test with its addresses."""
        self._thread, self._server = thread, server
        self._under_test, self._homes = under_test, homes

    def __getitem__(self, name: str) -> ServedVm:
        """Return a VM, which may still have to be put."""
        return ServedVm(self, name)

    def __setitem__(self, name: str, definition: Mapping[str, object]) -> None:
        """Create or replace a VM; as `ServedVm.put`."""
        __tracebackhide__ = True
        vm = parse_vm(name, to_builtins(definition))
        if name == self._under_test and vm.reach.address is None:
            vm = with_addresses(vm, self._free_homes())
        self._thread.do(self._server.fleet_service.put(vm, ACTOR))

    def __delitem__(self, name: str) -> None:
        """Remove a VM; as `ServedVm.remove`."""
        __tracebackhide__ = True
        if not self._thread.do(self._server.fleet_service.remove(name, ACTOR)):
            raise self._missing(name)

    def __contains__(self, name: object) -> bool:
        """Tell whether there is a VM of that name."""
        return name in self._server.dispatcher.fleet_index.by_name

    def __iter__(self) -> Iterator[str]:
        """Return the names of all VMs."""
        return iter([*self._server.dispatcher.fleet_index.by_name])

    def __len__(self) -> int:
        """Return the number of VMs."""
        return len(self._server.dispatcher.fleet_index.by_name)

    def patch(self, name: str, patch: Mapping[str, object]) -> None:
        """Change a VM by a merge patch; as `ServedVm.patch`."""
        __tracebackhide__ = True
        job = self._server.fleet_service.patch(name, to_builtins(patch), ACTOR)
        if self._thread.do(job) is None:
            raise self._missing(name, "Use put, which creates one")

    def body(self, name: str) -> bytes:
        """Return the definition of a VM as JSON; as `ServedVm.definition`."""
        stored = self._thread.do(
            self._server.fleet_service.call_store(self._server.fleet_service.store.get, name)
        )
        if stored is None:
            raise self._missing(name)
        return stored.body

    def document(self, name: str, version: str) -> dict[str, Any]:
        """Return the instance document of a VM; as `ServedVm.document`."""
        entry, catalog = self.entry(name), self._server.dispatcher.fleet_index.catalog
        version = version or catalog.general[-1]
        if version not in catalog.known:
            expected = "a general api-version such as " + ", ".join(catalog.newest_first)
            raise ConfigError("version", f'"{version}"', expected)
        text = instance_document(entry.vm, version)
        document: dict[str, Any] = msgspec.json.decode(text)
        return document

    def url(self, name: str) -> str:
        """Return the URL of a VM; as `ServedVm.url`."""
        own = [
            self._server.listeners.by_text[text].url for text in self.entry(name).vm.reach.listen
        ]
        return next((url for url in own if url.startswith("http")), self._thread.port.url)

    def entry(self, name: str) -> VmEntry[Any]:
        """Return the index entry of a VM.

        Raises:
            ConfigError: there is no such VM.
        """
        entry = self._server.dispatcher.fleet_index.by_name.get(name)
        if entry is None:
            raise self._missing(name)
        return entry

    def _free_homes(self) -> tuple[str, ...]:
        """Return the addresses of this process that no other VM claims."""
        entries = self._server.dispatcher.fleet_index.by_name.items()
        claimed = {
            address
            for name, entry in entries
            if name != self._under_test
            for address in entry.claims.addresses
        }
        return tuple(address for address in self._homes if address not in claimed)

    def _missing(self, name: str, hint: str = "") -> ConfigError:
        names = [*self]
        hint = nearest(name, names) or hint
        return ConfigError(f"imds.vms[{name!r}]", "no VM", "one of " + ", ".join(names), hint)
