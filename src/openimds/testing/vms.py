"""The VMs of a test: read, changed, added, removed; guests see it with their next request."""

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
from openimds.vm.fleet_file import parse_vm as read_vm

WHO = "test"
"""Who changes things, in the log of changes."""


class Subject:
    """One VM of the server, whether or not it is there yet. Its name does not change."""

    def __init__(self, vms: "Vms", name: str) -> None:
        """Name it; nothing happens."""
        self.name = name
        self._vms = vms

    def __repr__(self) -> str:
        """Return how it is written in a test."""
        return f"imds.vms[{self.name!r}]"

    @property
    def said(self) -> dict[str, Any]:
        """What was said of it, as in a fleet file.

        Raises:
            ConfigError: there is no such VM.
        """
        found: dict[str, Any] = msgspec.json.decode(self._vms.body(self.name))
        return found

    def document(self, version: str = "") -> dict[str, Any]:
        """Return its instance document at an api-version, by default the newest.

        Raises:
            ConfigError: there is no such VM, or no such version.
        """
        return self._vms.document(self.name, version)

    @property
    def url(self) -> str:
        """Where everybody is this VM, if it has a listener of its own; else `imds.url`."""
        return self._vms.url(self.name)

    def put(self, said: Mapping[str, object]) -> None:
        """Make it what is said, as under its name in a fleet file; it need not be there yet.

        Raises:
            ConfigError: unknown keys, wrong types, or an address that another VM has.
        """
        __tracebackhide__ = True
        self._vms[self.name] = said

    def patch(self, patch: Mapping[str, object]) -> None:
        """Change it by a merge patch (RFC 7396): members replace, None removes.

        Raises:
            ConfigError: as `put`, or there is no such VM.
        """
        __tracebackhide__ = True
        self._vms.patch(self.name, patch)

    def remove(self) -> None:
        """Remove it: it gets what a caller gets who is no VM.

        Raises:
            ConfigError: there is no such VM.
        """
        __tracebackhide__ = True
        del self._vms[self.name]


class Vms:
    """Every VM of the server by name; `vms["web-2"] = {...}` adds one, `del` removes it.

    The VM under test is reached from `homes` as long as nothing else is said of its addresses.
    """

    def __init__(
        self, stage: ServerThread, server: Server, under_test: str, homes: tuple[str, ...]
    ) -> None:
        """Stand before the desk of a server."""
        self._stage, self._server = stage, server
        self._under_test, self._homes = under_test, homes

    def __getitem__(self, name: str) -> Subject:
        """Return a VM, which may still have to be put."""
        return Subject(self, name)

    def __setitem__(self, name: str, said: Mapping[str, object]) -> None:
        """Make a VM what is said; as `Subject.put`."""
        __tracebackhide__ = True
        vm = read_vm(name, to_builtins(said))
        if name == self._under_test and vm.reach.address is None:
            vm = with_addresses(vm, self._free_homes())
        self._stage.do(self._server.fleet_service.put(vm, WHO))

    def __delitem__(self, name: str) -> None:
        """Remove a VM; as `Subject.remove`."""
        __tracebackhide__ = True
        if not self._stage.do(self._server.fleet_service.remove(name, WHO)):
            raise self._missing(name)

    def __contains__(self, name: object) -> bool:
        """Tell whether there is a VM of that name."""
        return name in self._server.dispatcher.fleet_index.by_name

    def __iter__(self) -> Iterator[str]:
        """Return the names of all VMs."""
        return iter([*self._server.dispatcher.fleet_index.by_name])

    def __len__(self) -> int:
        """Return how many there are."""
        return len(self._server.dispatcher.fleet_index.by_name)

    def patch(self, name: str, patch: Mapping[str, object]) -> None:
        """Change a VM by a merge patch; as `Subject.patch`."""
        __tracebackhide__ = True
        if self._stage.do(self._server.fleet_service.patch(name, to_builtins(patch), WHO)) is None:
            raise self._missing(name, "Use put, which makes one")

    def body(self, name: str) -> bytes:
        """Return what the store keeps of a VM; as `Subject.said`."""
        stored = self._stage.do(
            self._server.fleet_service.call_store(self._server.fleet_service.store.get, name)
        )
        if stored is None:
            raise self._missing(name)
        return stored.body

    def document(self, name: str, version: str) -> dict[str, Any]:
        """Return the instance document of a VM; as `Subject.document`."""
        entry, catalog = self.entry(name), self._server.dispatcher.fleet_index.catalog
        version = version or catalog.general[-1]
        if version not in catalog.known:
            expected = "a general api-version such as " + ", ".join(catalog.newest_first)
            raise ConfigError("version", f'"{version}"', expected)
        text = instance_document(entry.vm, version)
        found: dict[str, Any] = msgspec.json.decode(text)
        return found

    def url(self, name: str) -> str:
        """Return where a VM is asked; as `Subject.url`."""
        own = [
            self._server.listeners.by_text[text].url for text in self.entry(name).vm.reach.listen
        ]
        return next((url for url in own if url.startswith("http")), self._stage.port.url)

    def entry(self, name: str) -> VmEntry[Any]:
        """Return a VM as the data plane sees it.

        Raises:
            ConfigError: there is no such VM.
        """
        found = self._server.dispatcher.fleet_index.by_name.get(name)
        if found is None:
            raise self._missing(name)
        return found

    def _free_homes(self) -> tuple[str, ...]:
        entries = self._server.dispatcher.fleet_index.by_name.items()
        others = {
            one
            for name, entry in entries
            if name != self._under_test
            for one in entry.claims.addresses
        }
        return tuple(one for one in self._homes if one not in others)

    def _missing(self, name: str, hint: str = "") -> ConfigError:
        names = [*self]
        hint = nearest(name, names) or hint
        return ConfigError(f"imds.vms[{name!r}]", "no VM", "one of " + ", ".join(names), hint)
