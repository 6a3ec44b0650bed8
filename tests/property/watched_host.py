"""A host that is checked after each message, and the guests of a fleet."""

import asyncio
from collections.abc import Callable
from typing import Any, Protocol

import msgspec.json

from openimds.events.clock import Clock
from openimds.fleet.placement import hosts_of
from openimds.protocol.events.event import place_of
from openimds.server.hosts.follower import Answer
from openimds.server.hosts.messages import Shown
from openimds.server.seam.channel import Channel
from openimds.server.seam.messages import SeamMessage
from tests.property.shared_engine import SharedEngine
from tests.support.talk import Talk
from tests.unit.server.hosts.fleet import EVENTS, ControlSide, HostSide

CONTROLS = ("one", "two")
VERSION = "2020-07-01"


class Guests:
    """The guests of all VMs, which poll their events on one host each."""

    def __init__(self, revision: Callable[[], int]) -> None:
        """Begin without guests; `revision` returns that of the store."""
        self._at: dict[str, str] = {}
        self._since: dict[str, int] = {}
        self._seen: dict[str, int] = {}
        self._revision = revision

    def start(self, vm: str, host: str | None) -> None:
        """Start a guest anew on a host, or nowhere, with the next change.

        Before the host has that change, it may show an earlier VM of that name.
        """
        self._seen.pop(vm, None)
        self._at.pop(vm, None)
        if host:
            self._at[vm], self._since[vm] = host, self._revision() + 1

    def resume(self, vm: str, host: str) -> None:
        """Let a guest go on at another host, with all that it knows."""
        self._at[vm] = host

    def host_of(self, vm: str) -> str:
        """Return the host that a guest is on, or nothing."""
        return self._at.get(vm, "")

    def restart(self, host: str) -> None:
        """Start the guests of a host anew."""
        for vm, at in self._at.items():
            if at == host:
                self._seen.pop(vm, None)

    def poll(self, host: HostSide, since: int) -> None:
        """Let the guests on a host poll; check that no older events come."""
        for vm, entry in host.host.fleet_index.by_name.items():
            if self._at.get(vm) != host.name or self._since[vm] > since:
                continue
            (address,) = entry.claims.addresses
            reply = Talk(host.host.dispatcher, (address, 5)).ask(EVENTS)
            if reply.status == 200:
                number = msgspec.json.decode(reply.body)["DocumentIncarnation"]
                assert number >= self._seen.get(vm, 0), (vm, host.name, number, self._seen[vm])
                self._seen[vm] = number


class Network(Protocol):
    """The connections of a fleet."""

    def control_at(self, host: str, address: str) -> ControlSide | None:
        """Return the control that a host reaches at an address."""
        ...


class History:
    """The history of a store, and the documents that any host has shown."""

    def __init__(self, engine: SharedEngine) -> None:
        """Begin with an empty store."""
        self.engine = engine
        self.documents: dict[tuple[str, int], bytes] = {}
        """The documents of events by scope and incarnation."""
        self.breaches: list[str] = []
        """The rules that a host has broken: an error inside a host would stay there."""


class WatchedHost(HostSide):
    """A host that is checked against the history of the store after each message."""

    def __init__(
        self,
        name: str,
        history: History,
        network: Network,
        guests: Guests,
        *,
        clock: Clock,
        steady: Callable[[], float],
    ) -> None:
        """Show nothing yet."""
        anywhere: dict[str, Any] = dict.fromkeys(CONTROLS)
        super().__init__(name, anywhere, clock, steady=steady, chance=lambda: 0.5)
        self._history, self._network, self._guests = history, network, guests
        self.since = 0
        """The revision that the host has shown: each VM is as it was then, or was later."""
        self.answering = asyncio.Event()
        """Not set while the host is stuck, and answers no message of control."""
        self.answering.set()
        self._dropped = 0
        """The revision whose scopes the host has: those that lost all VMs go a little later."""
        self._numbers: dict[str, int] = {}

    async def _connect(self, control: str, answer: Answer) -> Channel:
        history = self._history
        side = self._network.control_at(self.name, control)
        self.controls = {control: side} if side else {}

        async def watched(message: SeamMessage) -> Any:
            await self.answering.wait()
            result = await answer(message)
            try:
                if isinstance(message, Shown):
                    self._check_all_shown(message.revision)
                self.look()
            except AssertionError as error:
                history.breaches.append(f"after {message}: {error}")
            return result

        channel = await super()._connect(control, watched)
        if side is not self._network.control_at(self.name, control):
            channel.abort()
            raise ConnectionResetError(104, "Connection reset by peer")
        return channel

    @property
    def scopes(self) -> dict[str, Any]:
        """The published events by scope."""
        return self.events._scopes

    def look(self) -> None:
        """Check that the host shows its own VMs, events and faults, none older."""
        fleets = self._history.engine.fleets_since(self.since)
        for name, entry in self.host.fleet_index.by_name.items():
            vms = [fleet.vms.get(name) for fleet in fleets]
            assert entry.vm in vms, f"{self.name} shows a foreign or older {name}: {entry.vm}"
            assert self.name in hosts_of(entry.vm), f"{self.name} shows {name} of another host"
        was_here = set().union(*(fleet.names_on(self.name) for fleet in fleets))
        for fault in self.host.injector.running:
            assert {*fault.spec.vms} <= was_here, f"{self.name} has a fault of {fault.spec.vms}"
        foreign = self.scopes.keys() - self._scopes_since(self._dropped)
        assert not foreign, f"{self.name} has events of {foreign}"
        for scope, published in self.scopes.items():
            number, body = published.incarnation, published.document(VERSION).body
            assert number >= self._numbers.get(scope, 0), f"{self.name}: older events of {scope}"
            self._numbers[scope] = number
            known = self._history.documents.setdefault((scope, number), body)
            assert known == body, f"{self.name}: two documents {number} of {scope}"
        self._guests.poll(self, self.since)

    def _scopes_since(self, revision: int) -> set[str]:
        """Return the scopes that had VMs here at a revision, or later."""
        fleets = self._history.engine.fleets_since(revision)
        return {
            place_of(fleet.vms[name])[0] for fleet in fleets for name in fleet.names_on(self.name)
        }

    def _check_all_shown(self, revision: int) -> None:
        """Check that the host goes forward, and lacks no VM of its own."""
        assert revision >= self.since, f"{self.name} goes back from {self.since} to {revision}"
        self.since = revision
        if self.scopes.keys() <= self._scopes_since(revision):
            self._dropped = revision
        names = [fleet.names_on(self.name) for fleet in self._history.engine.fleets_since(revision)]
        assert set.intersection(*names) <= self.host.fleet_index.by_name.keys()
