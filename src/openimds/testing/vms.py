"""The VMs of a test; guests see each change with their next request."""

from collections.abc import Iterator, Mapping
from typing import Any, Protocol

import msgspec.json
from msgspec import to_builtins

from openimds.errors import ConfigError
from openimds.fleet.vm_entry import VmEntry
from openimds.parameters import nearest
from openimds.protocol.dialect import catalog_of
from openimds.protocol.handle import instance_document
from openimds.testing.calls import Facade, awaited, blocking
from openimds.testing.server_thread import RunningServer
from openimds.vm.fleet_file import parse_vm

ACTOR = "test"
"""The author of changes in the audit log."""


class HasName(Protocol):
    """A VM by its name: `ServedVm` or `AsyncServedVm`."""

    @property
    def name(self) -> str:
        """The name of the VM."""
        ...


class VmJobs:
    """The changes of a server's VMs, on the server's loop."""

    def __init__(self, running: RunningServer) -> None:
        """Take a running server."""
        self._running = running

    async def put(self, name: str, definition: Mapping[str, object]) -> None:
        """Create or replace a VM; the definition is as in a fleet file.

        Raises:
            ConfigError: unknown keys, wrong types, or an address that another VM has.
        """
        vm = parse_vm(name, to_builtins(definition))
        await self._running.server.fleet_service.put(vm, ACTOR)

    async def patch(self, name: str, patch: Mapping[str, object]) -> None:
        """Change a VM by a merge patch (RFC 7396): a member replaces, None removes.

        Raises:
            ConfigError: as `put`, or there is no such VM.
        """
        service = self._running.server.fleet_service
        if await service.patch(name, to_builtins(patch), ACTOR) is None:
            raise missing(self._running, name, "Use put, which creates one")

    async def remove(self, name: str) -> None:
        """Remove a VM; its address becomes an unknown caller (404).

        Raises:
            ConfigError: there is no such VM.
        """
        if not await self._running.server.fleet_service.remove(name, ACTOR):
            raise missing(self._running, name)

    async def definition(self, name: str) -> dict[str, Any]:
        """Return the mapping under the name of a VM in a fleet file.

        Raises:
            ConfigError: there is no such VM.
        """
        service = self._running.server.fleet_service
        stored = await service.call_store(service.store.get, name)
        if stored is None:
            raise missing(self._running, name)
        definition: dict[str, Any] = msgspec.json.decode(stored.body)
        return definition


def missing(running: RunningServer, name: str, hint: str = "") -> ConfigError:
    """Return the error for a VM that the server does not have."""
    names = [*running.server.dispatcher.fleet_index.by_name]
    hint = nearest(name, names) or hint
    return ConfigError(f"imds.vms[{name!r}]", "no VM", "one of " + ", ".join(names), hint)


def entry_of(running: RunningServer, name: str) -> VmEntry[Any]:
    """Return the index entry of a VM.

    Raises:
        ConfigError: there is no such VM.
    """
    entry = running.server.dispatcher.fleet_index.by_name.get(name)
    if entry is None:
        raise missing(running, name)
    return entry


class VmReads(Facade[VmJobs]):
    """Every VM of the server by name."""

    def __init__(self, running: RunningServer) -> None:
        """Take a running server."""
        super().__init__(running, VmJobs(running))

    def __contains__(self, name: object) -> bool:
        """Tell whether there is a VM of that name."""
        return name in self._running.server.dispatcher.fleet_index.by_name

    def __iter__(self) -> Iterator[str]:
        """Return the names of all VMs."""
        return iter([*self._running.server.dispatcher.fleet_index.by_name])

    def __len__(self) -> int:
        """Return the number of VMs."""
        return len(self._running.server.dispatcher.fleet_index.by_name)


class VmByName:
    """The parts of one VM that take no waiting."""

    name: str
    """Its name in the fleet."""

    def __init__(self, running: RunningServer, name: str) -> None:
        """Take the name of the VM; nothing is changed or checked."""
        self.name = name
        self._running = running

    def __repr__(self) -> str:
        """Return the expression for it in a test."""
        return f"imds.vms[{self.name!r}]"

    def document(self, version: str = "") -> dict[str, Any]:
        """Return its instance document at an api-version, by default the newest.

        Raises:
            ConfigError: there is no such VM, or no such version.
        """
        vm = entry_of(self._running, self.name).vm
        catalog = catalog_of(vm, self._running.server.dispatcher.fleet_index.catalog)
        version = version or catalog.general[-1]
        if version not in catalog.known:
            expected = "a general api-version such as " + ", ".join(catalog.newest_first)
            raise ConfigError("version", f'"{version}"', expected)
        document: dict[str, Any] = msgspec.json.decode(instance_document(vm, version))
        return document

    @property
    def url(self) -> str:
        """The URL of the VM's own listener, if it has one; else `imds.url`."""
        listeners = self._running.server.listeners.by_text
        own = [listeners[text].url for text in entry_of(self._running, self.name).vm.reach.listen]
        port = self._running.thread.port
        return next((url for url in own if url.startswith("http")), port.url)


class ServedVm(VmByName):
    """One VM of the server by its name; it may still have to be put."""

    def __init__(self, vms: "Vms", running: RunningServer, name: str) -> None:
        """Take the name of the VM; nothing is changed or checked."""
        super().__init__(running, name)
        self._vms = vms

    @property
    def definition(self) -> dict[str, Any]:
        """The mapping under its name in a fleet file.

        Raises:
            ConfigError: there is no such VM.
        """
        return self._vms.definition(self.name)

    @property
    def said(self) -> dict[str, Any]:  # words: a public name of 0.1.0
        """The name of `definition` in 0.1.0, until 1.0."""
        return self.definition

    def put(self, definition: Mapping[str, object]) -> None:
        """Create or replace the VM; the definition is as in a fleet file.

        Raises:
            ConfigError: unknown keys, wrong types, or an address that another VM has.
        """
        __tracebackhide__ = True
        self._vms.put(self.name, definition)

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
        self._vms.remove(self.name)


class Vms(VmReads):
    """Every VM of the server by name; `vms["web-2"] = {...}` adds one, `del` removes it.

    The VM under test is reached from the source addresses of this process, unless its definition
    has addresses.
    """

    put = blocking(VmJobs.put)
    patch = blocking(VmJobs.patch)
    remove = blocking(VmJobs.remove)
    definition = blocking(VmJobs.definition)

    def __getitem__(self, name: str) -> ServedVm:
        """Return a VM, which may still have to be put."""
        return ServedVm(self, self._running, name)

    def __setitem__(self, name: str, definition: Mapping[str, object]) -> None:
        """Create or replace a VM; as `put`."""
        __tracebackhide__ = True
        self.put(name, definition)

    def __delitem__(self, name: str) -> None:
        """Remove a VM; as `remove`."""
        __tracebackhide__ = True
        self.remove(name)


class AsyncServedVm(VmByName):
    """One VM of `AsyncImds`: as `ServedVm`, with calls that are awaited."""

    def __init__(self, vms: "AsyncVms", running: RunningServer, name: str) -> None:
        """Take the name of the VM; nothing is changed or checked."""
        super().__init__(running, name)
        self._vms = vms

    async def definition(self) -> dict[str, Any]:
        """Return the mapping under its name in a fleet file; as `ServedVm.definition`."""
        return await self._vms.definition(self.name)

    async def put(self, definition: Mapping[str, object]) -> None:
        """Create or replace the VM; as `ServedVm.put`."""
        await self._vms.put(self.name, definition)

    async def patch(self, patch: Mapping[str, object]) -> None:
        """Apply a merge patch; as `ServedVm.patch`."""
        await self._vms.patch(self.name, patch)

    async def remove(self) -> None:
        """Remove the VM; as `ServedVm.remove`."""
        await self._vms.remove(self.name)


class AsyncVms(VmReads):
    """Every VM of `AsyncImds` by name: as `Vms`, with changes that are awaited."""

    put = awaited(VmJobs.put)
    patch = awaited(VmJobs.patch)
    remove = awaited(VmJobs.remove)
    definition = awaited(VmJobs.definition)

    def __getitem__(self, name: str) -> AsyncServedVm:
        """Return a VM, which may still have to be put."""
        return AsyncServedVm(self, self._running, name)
