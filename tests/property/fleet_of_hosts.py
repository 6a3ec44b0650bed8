"""Two controls and three hosts over one store, in virtual time."""

import asyncio
from collections.abc import Awaitable, Iterator
from typing import Any, TypeVar

import msgspec.json

from openimds.events.clock import Clock
from openimds.faults.service import NOTE, StoredFault
from openimds.fleet.placement import hosts_of
from openimds.protocol.events.event import Event, place_of
from openimds.vm.types import Vm
from tests.property.shared_engine import EngineStore, SharedEngine, vm_of
from tests.property.watched_host import CONTROLS, Guests, History, WatchedHost
from tests.support.virtual_time import VirtualTimeLoop
from tests.unit.server.hosts.fleet import ControlSide

T = TypeVar("T")
NOW_S = 1_700_000_000.0
CONVERGES_S = 60.0
"""The longest time from the end of all faults until all hosts agree with the store."""
ENDS_S = 120.0
"""The longest time of any other work."""
HOSTS = ("a", "b", "c")


class FleetOfHosts:
    """One control leads; the other address may have an earlier leader that does not know."""

    def make(self) -> None:
        """Make a fleet without control and hosts; `start` starts it."""
        self.loop = VirtualTimeLoop()
        self.engine = SharedEngine()
        self.guests = Guests(self.engine.memory.revision)
        self.reach = {name: {*CONTROLS} for name in HOSTS}
        self.controls: dict[str, ControlSide] = {}
        self.leading = CONTROLS[0]
        self.vms: dict[str, bytes] = {}
        self.history = History(self.engine)
        self.hosts: dict[str, WatchedHost] = {}

    def run(self, work: Awaitable[T]) -> T:
        """Do work, while all else goes on; fail if it does not end."""

        async def bounded() -> T:
            async with asyncio.timeout(ENDS_S):
                return await work

        return self.loop.run_until_complete(bounded())

    async def start(self) -> None:
        """Elect a leader, and let every host follow it."""
        self.controls[self.leading] = await self.elect()
        for name in HOSTS:
            await self.start_host(name)
        await self.converge()

    async def start_host(self, name: str) -> None:
        """Start a host, with nothing to show."""
        if before := self.hosts.get(name):
            await before.close()
        host = WatchedHost(
            name, self.history, self, self.guests, clock=self.clock(), steady=self.loop.time
        )
        self.hosts[name] = host
        host.follow()

    def clock(self) -> Clock:
        """Return a clock of guests."""
        return Clock(lambda: NOW_S + self.loop.time(), is_virtual=True)

    async def elect(self) -> ControlSide:
        """Return a control that leads from now on, and has loaded."""
        self.engine.heal()
        store: EngineStore = self.engine.open()
        renewed_s = self.loop.time()

        def age_s() -> float:
            nonlocal renewed_s
            if store.epoch == self.engine.epoch and not self.engine.is_away:
                renewed_s = self.loop.time()
            return self.loop.time() - renewed_s

        control = ControlSide(store, clock=self.clock(), age_s=age_s)
        control.epoch = store.epoch
        await control.load()
        return control

    @property
    def leader(self) -> ControlSide:
        """The control that leads."""
        return self.controls[self.leading]

    @property
    def other(self) -> str:
        """The address at which no leader is, but maybe an earlier one."""
        return next(name for name in CONTROLS if name != self.leading)

    def control_at(self, host: str, address: str) -> ControlSide | None:
        """Return the control that a host reaches at an address."""
        return self.controls.get(address) if address in self.reach[host] else None

    async def end(self, address: str) -> None:
        """End the control at an address, if there is one."""
        if control := self.controls.pop(address, None):
            await control.close()

    async def take_lead(self) -> None:
        """Let a new control lead; the earlier one does not notice."""
        await self.end(self.other)
        address = self.other
        self.controls[address] = await self.elect()
        self.leading = address

    # The store.

    def vm(self, name: str) -> Vm | None:
        """Return a VM as it is stored."""
        body = self.vms.get(name)
        return vm_of(name, body) if body else None

    def stored_events(self) -> dict[str, Event]:
        """Return the events in the store."""
        rows = self.engine.memory.events()
        found = [msgspec.json.decode(body, type=Event) for body in rows]
        return {event.event_id: event for event in found}

    # The end of all faults.

    async def converge(self) -> None:
        """End all faults, and wait until every host shows exactly what the store has."""
        self.engine.heal()
        self.reach = {name: {*CONTROLS} for name in HOSTS}
        for host in self.hosts.values():
            host.answering.set()
        store: Any = self.leader.store
        if store.is_tainted:
            await self.take_lead()
        await self.end(self.other)
        end_s = self.loop.time() + CONVERGES_S
        while found := [*self.differences()]:
            assert not self.history.breaches
            assert self.loop.time() < end_s, found
            await asyncio.sleep(0.05)

    def differences(self) -> Iterator[str]:
        """Yield the differences between the store, the leader and the hosts."""
        memory, control = self.engine.memory, self.leader.control
        vms = {name: vm_of(name, body) for name, body in self.vms.items()}
        note, events = memory.value(NOTE), self.stored_events()
        faults = msgspec.json.decode(note, type=list[StoredFault]) if note else []
        if {name: entry.vm for name, entry in control.fleet_index.by_name.items()} != vms:
            yield "control: VMs"
        if {event.event_id: event for event in control.events_service.events()} != events:
            yield "control: events"
        for host in self.hosts.values():
            own = {name: vm for name, vm in vms.items() if host.name in hosts_of(vm)}
            yield from self.differences_on(host, own, events, faults)

    def differences_on(
        self,
        host: WatchedHost,
        own: dict[str, Vm],
        events: dict[str, Event],
        faults: list[StoredFault],
    ) -> Iterator[str]:
        """Yield the differences between the store and a host, whose VMs are `own`."""
        one = self.leader.sessions.get(host.name)
        if one is None or not one.is_settled or one.refused:
            yield f"{host.name}: not settled"
            return
        incarnations = self.engine.memory.incarnations()
        scopes = {place_of(vm)[0] for vm in own.values()} & incarnations.keys()
        if {name: entry.vm for name, entry in host.host.fleet_index.by_name.items()} != own:
            yield f"{host.name}: VMs"
        if {scope: one.incarnation for scope, one in host.scopes.items()} != {
            scope: incarnations[scope] for scope in scopes
        }:
            yield f"{host.name}: incarnations"
        shown = {event.event_id for one in host.scopes.values() for event in one.events}
        if shown != {key for key, event in events.items() if event.scope in scopes}:
            yield f"{host.name}: events"
        playing = [fault.key for fault in host.host.injector.running]
        if playing != [fault.key for fault in faults if is_played(fault, own)]:
            yield f"{host.name}: faults"
        if host.host.clock() != self.leader.control.clock():
            yield f"{host.name}: clock"
        if host.since != self.engine.memory.revision():
            yield f"{host.name}: revision"

    async def close(self) -> None:
        """End everything."""
        for host in self.hosts.values():
            await host.close()
        for address in CONTROLS:
            await self.end(address)
        left = asyncio.all_tasks() - {asyncio.current_task()}
        for task in left:
            task.cancel()
        await asyncio.gather(*left, return_exceptions=True)


def is_played(fault: StoredFault, own: dict[str, Vm]) -> bool:
    """Tell whether a host with these VMs plays a stored fault."""
    vms: Any = fault.fault.get("vms")
    return not vms or not own.keys().isdisjoint(vms)
