"""Two controls and three hosts against their store: moves, cut connections, faults, take-overs.

One control leads; the other may believe that it still does, and is fenced. The time is virtual,
and no thread runs, so each run is the same. After each message of control a host is checked:

- single owner: a host shows a VM only as the store has it placed there, now or since the revision
  that the host has reached; so two hosts have one VM only while it moves, or while one of them is
  cut off;
- no leak: neither VMs nor events nor faults of other hosts, and no answer for their VMs;
- monotone incarnations: no host and no guest goes back, and no number has two documents;
- convergence: once the faults end, every host shows exactly what the store has.

`make test` plays 60 examples. The long form plays others each time: OPENIMDS_HOSTS_EXAMPLES is
their number (1,000 take some minutes), OPENIMDS_HOSTS_STEPS the steps of each.
"""

import asyncio
import os
from collections.abc import Awaitable, Sequence
from contextlib import suppress
from typing import Any, TypeVar
from unittest.mock import patch

import msgspec.json
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from openimds.errors import ConfigError, Error
from openimds.facts.events import EventStatus, Trigger
from openimds.faults.service import NOTE
from openimds.fleet.placement import hosts_of
from openimds.fleet.store.port import StoreError
from openimds.protocol.events.event import Event, place_of
from openimds.protocol.pending import Approved, PendingApproval
from openimds.server.hosts import follower, session
from openimds.vm.serialize import encode_vm
from tests.property.fleet_of_hosts import HOSTS, FleetOfHosts
from tests.property.shared_engine import vm_of

T = TypeVar("T")
NAMES = ("v-1", "v-2", "v-3", "v-4")
ADDRESSES = ("10.0.0.1", "10.0.0.2", "10.0.0.3")
SET = {"availabilitySet": "as-1", "compute": {"subscriptionId": "s", "resourceGroupName": "g"}}
ORDERS = (Trigger.START, Trigger.COMPLETE, Trigger.CANCEL, Trigger.APPROVED)
names, hosts = st.sampled_from(NAMES), st.sampled_from(HOSTS)
reaches = st.sampled_from([{"one"}, {"two"}, {"one", "two"}, set[str]()])
pauses = st.sampled_from([0.0, 3.0])
picks = st.integers(0, 9)
REFUSALS = (ConfigError, StoreError)


def picked(some: Sequence[T], pick: int) -> T:
    """Return one of some things."""
    return some[pick % len(some)]


class FleetMachine(FleetOfHosts, RuleBasedStateMachine):
    """A fleet whose engine, controls, hosts and connections fail now and then."""

    # The world.

    @initialize()
    def begin(self) -> None:
        """Start one control and all hosts."""
        self.patches = [
            patch.object(session, "SLICE", 2),
            patch.object(session, "DIGESTS_AT_ONCE", 2),
            patch.object(follower, "DIGESTS_AT_ONCE", 2),
        ]
        for one in self.patches:
            one.start()
        self.make()
        self.incarnations: dict[str, int] = {}
        self.stored: dict[str, Event] = {}
        self.acknowledged: set[str] = set()
        self.ended: set[str] = set()
        self.run(self.start())
        for name, host in zip(NAMES, HOSTS, strict=False):
            self.put(name, host, ADDRESSES[0], is_in_set=True)
        self.declare({NAMES[0]})

    # Changes of operators.

    def placed(self, *, is_moving: bool) -> list[str]:
        """Return the VMs on one host, or on two."""
        count = 2 if is_moving else 1
        return [
            name for name, body in self.vms.items() if len(hosts_of(vm_of(name, body))) == count
        ]

    def change(self, name: str, body: bytes | None, work: Awaitable[Any]) -> None:
        """Make a change of a VM, which is made or not, and nothing else."""
        before = self.vms.pop(name, None)
        after = body
        try:
            self.run(work)
        except REFUSALS:
            row = self.engine.memory.get(name)
            after = row.body if row else None
            assert after in {before, body}
        if after is not None:
            self.vms[name] = after

    def patch(self, name: str, **members: str | None) -> None:
        """Change members of a VM."""
        value = {**msgspec.json.decode(self.vms[name]), **members}
        kept = {key: one for key, one in value.items() if one is not None}
        body = encode_vm(vm_of(name, msgspec.json.encode(kept)))
        service = self.leader.control.fleet_service
        self.change(name, body, service.patch(name, members, "me"))

    @rule(
        name=names,
        host=st.none() | hosts,
        address=st.sampled_from(ADDRESSES),
        is_in_set=st.booleans(),
    )
    def put(self, name: str, host: str | None, address: str, is_in_set: bool) -> None:
        value: dict[str, Any] = {"reach": {"address": [address]}, **(SET if is_in_set else {})}
        if host:
            value["host"] = host
        body = encode_vm(vm_of(name, msgspec.json.encode(value)))
        before = self.vm(name)
        if before is None or before.host != (host or ""):
            self.guests.start(name, host)
        self.change(name, body, self.leader.put(name, **value))

    @precondition(lambda self: self.vms)
    @rule(pick=picks)
    def remove(self, pick: int) -> None:
        name = picked([*self.vms], pick)
        self.guests.start(name, None)
        self.change(name, None, self.leader.control.fleet_service.remove(name, "me"))

    @precondition(lambda self: self.placed(is_moving=False))
    @rule(pick=picks, to=picks, seconds=pauses, is_committed=st.booleans())
    def move(self, pick: int, to: int, seconds: float, is_committed: bool) -> None:
        """Begin a move, maybe let the next host get ready, and maybe commit it."""
        name = picked(self.placed(is_moving=False), pick)
        others = sorted({*HOSTS}.difference(hosts_of(vm_of(name, self.vms[name]))))
        self.patch(name, nextHost=picked(others, to))
        self.wait(seconds)
        if is_committed and name in self.placed(is_moving=True):
            self.commit(name)

    @precondition(lambda self: self.placed(is_moving=True))
    @rule(pick=picks)
    def commit_move(self, pick: int) -> None:
        self.commit(picked(self.placed(is_moving=True), pick))

    def commit(self, name: str) -> None:
        """Commit a move; a guest goes on if its next host is ready, else anew."""
        (_, host) = hosts_of(vm_of(name, self.vms[name]))
        target = self.leader.sessions.get(host)
        if target and target.shows(name):
            self.guests.resume(name, host)
            self.hosts[host].look()
        else:
            self.guests.start(name, host)
        self.patch(name, host=host, nextHost=None)

    @precondition(lambda self: self.placed(is_moving=True))
    @rule(pick=picks)
    def cancel_move(self, pick: int) -> None:
        self.patch(picked(self.placed(is_moving=True), pick), nextHost=None)

    @rule(some=st.sets(names, min_size=1))
    def declare(self, some: set[str]) -> None:
        with suppress(*REFUSALS):
            self.run(self.leader.declare(*sorted(some)))
            found = self.leader.control.events_service.events()
            self.acknowledged.update(event.event_id for event in found)

    @rule(pick=picks, trigger=st.sampled_from(ORDERS))
    def order(self, pick: int, trigger: Trigger) -> None:
        service = self.leader.control.events_service
        if found := service.events():
            event_id = picked(found, pick).event_id
            with suppress(*REFUSALS):
                self.run(service.order(trigger, event_id, "me"))

    @rule(vms=st.just([]) | st.lists(names, min_size=1, max_size=2, unique=True))
    def set_fault(self, vms: list[str]) -> None:
        fault = {"effect": "status", "status": 503, "vms": vms}
        with suppress(*REFUSALS):
            self.run(self.leader.control.faults.set(fault))

    @rule()
    def clear_faults(self) -> None:
        with suppress(StoreError):
            self.run(self.leader.control.faults.clear())

    @rule(step_s=st.sampled_from([1, 30, 600, 900, 5000]))
    def step_clock(self, step_s: float) -> None:
        service = self.leader.control.events_service
        with suppress(StoreError):
            self.run(service.set_clock(service.clock.planned(advance_s=step_s)))

    # Guests and hosts.

    @rule(name=names, host=hosts, pick=picks)
    def approve(self, name: str, host: str, pick: int) -> None:
        """Approve an event from a host, which control takes for the host's own VMs alone."""
        vm, side = self.vm(name), self.hosts[host]
        if vm is None or not self.stored:
            return
        event_id = picked([*self.stored], pick)
        need = PendingApproval(name, place_of(vm)[0], (event_id,))
        try:
            outcome = self.run(side.follower.approve(need))
        except Error:
            return
        control = self.controls[side.follower.state.control]
        assert control.link.is_on(name, host), f"{host} approves for {name} of another host"
        if outcome == Approved():
            event = self.stored_events().get(event_id)
            is_kept = event is None or name in event.approvals
            assert is_kept or (event and event.status is EventStatus.STARTED)

    @rule(host=hosts)
    def restart(self, host: str) -> None:
        """Start a host anew, with nothing to show, and with it its guests."""
        self.guests.restart(host)
        self.run(self.start_host(host))

    @rule(count=st.integers(1, 60))
    def turn(self, count: int) -> None:
        """Let the loop run for some turns, so that some messages arrive."""

        async def turns() -> None:
            for _ in range(count):
                await asyncio.sleep(0)

        self.run(turns())

    @rule(seconds=st.sampled_from([0.1, 1.0, 6.0, 25.0]))
    def wait(self, seconds: float) -> None:
        """Let time pass, and all that takes no longer happen."""
        self.run(asyncio.sleep(seconds))

    # Faults of the world.

    @rule(kind=st.sampled_from(["away", "read-only", "made", "not made", "fine"]))
    def hurt_engine(self, kind: str) -> None:
        self.engine.heal()
        self.engine.is_away = kind == "away"
        self.engine.refuses_writes = kind == "read-only"
        self.engine.is_unknown = {"made": True, "not made": False}.get(kind)

    @rule(is_ended=st.sampled_from([False, False, True]), seconds=pauses)
    def take_over(self, is_ended: bool, seconds: float) -> None:
        """Lead by the other control; the earlier one has ended, or does not know yet."""
        self.run(self.take_lead())
        if is_ended:
            self.run(self.end(self.other))
        self.wait(seconds)

    @precondition(lambda self: self.other in self.controls)
    @rule()
    def find_out(self) -> None:
        """Let the earlier leader find out that it is fenced, and end."""
        self.run(self.end(self.other))

    @precondition(lambda self: self.other in self.controls)
    @rule(name=names, host=hosts, pick=picks)
    def change_by_the_earlier_leader(self, name: str, host: str, pick: int) -> None:
        """Have the earlier leader try a change of each kind; none is made."""
        stale = self.controls[self.other]
        control, memory = stale.control, self.engine.memory

        def rows() -> list[Any]:
            vms = [*memory.page("", 99)]
            return [vms, memory.events(), memory.incarnations(), memory.value(NOTE)]

        before = rows()
        works: list[Awaitable[Any]] = [
            stale.put(name, host=host, reach={"address": ["10.0.0.9"]}),
            control.fleet_service.remove(name, "me"),
            control.faults.set({"effect": "status", "status": 500}),
            control.events_service.set_clock(control.clock.planned(advance_s=1e6)),
        ]
        if found := control.events_service.events():
            event_id = picked(found, pick).event_id
            works.append(control.events_service.order(Trigger.CANCEL, event_id, "me"))
        for work in works:
            with suppress(*REFUSALS):
                self.run(work)
        assert rows() == before

    @rule(host=hosts, reach=reaches, is_rough=st.booleans(), seconds=pauses)
    def cut(self, host: str, reach: set[str], is_rough: bool, seconds: float) -> None:
        """Let a host reach these controls alone, and maybe find them."""
        self.reach[host] = reach
        for address, control in self.controls.items():
            if address not in reach and (one := control.sessions.get(host)):
                (one.channel.abort if is_rough else one.channel.close)()
        self.wait(seconds)

    @precondition(lambda self: self.other in self.controls)
    @rule(name=names, host=hosts, address=st.sampled_from(ADDRESSES), is_rough=st.booleans())
    def lead_back(self, name: str, host: str, address: str, is_rough: bool) -> None:
        """Let a host follow the leader, which makes a change, and then the earlier leader."""
        self.cut(host, {self.leading}, is_rough, 3.0)
        self.put(name, host, address, is_in_set=False)
        self.cut(host, {self.other}, is_rough, 3.0)

    @rule(host=hosts, is_stuck=st.booleans())
    def stick(self, host: str, is_stuck: bool) -> None:
        """Let a host answer no message, or answer again."""
        answering = self.hosts[host].answering
        (answering.clear if is_stuck else answering.set)()

    # Checks.

    @invariant()
    def nothing_is_lost(self) -> None:
        memory = self.engine.memory
        assert {one.name: one.body for one in memory.page("", 99)} == self.vms
        incarnations, events = memory.incarnations(), self.stored_events()
        ended = {
            entry.event_id
            for entry in memory.log_entries(0, 10_000)
            if msgspec.json.decode(entry.body)["after"] == EventStatus.COMPLETED
        }
        for scope, number in self.incarnations.items():
            assert incarnations[scope] >= number
        for event_id, event in self.stored.items():
            now = events.get(event_id)
            assert now or event_id in ended
            if now:
                assert {*event.approvals} <= {*now.approvals}
                assert event.status in {EventStatus.SCHEDULED, now.status}
        assert not events.keys() & self.ended
        assert self.acknowledged <= events.keys() | ended
        self.incarnations, self.stored, self.ended = incarnations, events, ended

    @invariant()
    def each_vm_has_one_owner(self) -> None:
        """Check that the hosts with all changes show their own VMs alone."""
        assert not self.history.breaches
        now = self.engine.fleets[-1]
        for host in self.hosts.values():
            host.look()
            if host.since >= now.revision:
                assert host.host.fleet_index.by_name.keys() <= now.names_on(host.name)

    @rule()
    def settle(self) -> None:
        """End all faults, and compare every host with the store."""
        self.run(self.converge())

    def teardown(self) -> None:
        if not hasattr(self, "loop"):
            return
        try:
            self.run(self.converge())
        finally:
            self.run(self.close())
            self.loop.close()
            for one in self.patches:
                one.stop()


def test_hosts_agree_with_the_store_after_any_faults() -> None:
    examples = os.environ.get("OPENIMDS_HOSTS_EXAMPLES", "")
    run_state_machine_as_test(
        FleetMachine,
        settings=settings(
            max_examples=int(examples or 60),
            stateful_step_count=int(os.environ.get("OPENIMDS_HOSTS_STEPS", "40")),
            deadline=None,
            derandomize=not examples,
            database=None,
            suppress_health_check=[HealthCheck.too_slow],
        ),
    )
