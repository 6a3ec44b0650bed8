"""All hosts, as the parts of control change what guests are served.

A change is acknowledged when it is stored; it does not wait for hosts. What a host has to show is
marked, and its session sends the newest state of it.
"""

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from collections.abc import Set as AbstractSet
from typing import Protocol

from msgspec import Struct, field

from openimds.credentials.remote.placed_vm import PlacedVm, placed_vm
from openimds.events.writer import PublishedScope
from openimds.faults.injector import FaultCounts
from openimds.fleet.index import IndexUpdate
from openimds.fleet.placement import vm_on
from openimds.fleet.vm_entry import PackedVm
from openimds.protocol.events.document import ScopeActivity
from openimds.protocol.request_log import Record
from openimds.server.host import Host
from openimds.server.hosts.digests import digest_of
from openimds.server.hosts.hosts_recording import HostsRecording
from openimds.server.hosts.progress import HostProgress
from openimds.server.local_host import LocalHost
from openimds.server.seam.messages import SLICE_BYTES


class Marks(Protocol):
    """The marks of a connected host: what it has to be sent anew."""

    def mark_vm(self, name: str) -> None:
        """Mark a VM that was put, removed or moved."""
        ...

    def mark_scope(self, scope: str) -> None:
        """Mark a scope of events."""
        ...

    def mark_activity(self, scope: str) -> None:
        """Mark a scope whose guests on other hosts have asked for events."""
        ...

    def mark_faults(self) -> None:
        """Mark the faults."""
        ...

    def mark_clock(self) -> None:
        """Mark the clock."""
        ...

    async def fault_counts(self) -> dict[str, FaultCounts]:
        """Return the counts of the faults on the host; none without an answer."""
        ...

    async def records(self, vm: str, since: int) -> tuple[Record, ...]:
        """Return some requests of a VM behind a number, as its host has them.

        Raises:
            ChannelClosedError: the host has gone.
        """
        ...


class HostVms(Struct):
    """The VMs of a host, and the number of them in each scope of events."""

    names: set[str] = field(default_factory=set)
    scopes: Counter[str] = field(default_factory=Counter)


class HostsLink(LocalHost):
    """The hosts of a fleet.

    A host of this process without listeners signs for them, and answers the admin API.
    """

    def __init__(self, host: Host, public_url: str) -> None:
        """Begin without VMs and sessions; `host` has the index of the whole fleet."""
        super().__init__(host, public_url)
        self.recording = HostsRecording(self)
        self.want_listeners = self._leave_listeners
        self.forget_tokens = self._forget_tokens
        self.take_faults, self.take_clock = self._take_faults, self._take_clock
        self.sessions: Mapping[str, Marks] = {}
        """The connected hosts by name."""
        self.revision: Callable[[], int] = lambda: 0
        """Returns the revision of the fleet."""
        self.scopes: Callable[[], Mapping[str, PublishedScope]] = dict
        """Returns the published scopes."""
        self.activity = ScopeActivity()
        """The requests for events on all hosts."""
        self._vms: dict[str, HostVms] = {}
        self._hosts_by_scope: dict[str, set[str]] = {}
        self._placed: dict[str, tuple[tuple[str, ...], str]] = {}
        self._began_s = time.monotonic()
        self._progress: dict[str, HostProgress] = {}

    @property
    def hides_events(self) -> bool:
        """Whether the hosts hide events from inactive scopes: yes, they see the requests."""
        return True

    def follow(self, sessions: Mapping[str, Marks]) -> None:
        """Mark changes in these sessions, which come and go, from now on."""
        self.sessions = sessions

    def load(self) -> None:
        """Place the VMs of the index, once the store is loaded."""
        for entry in self.fleet_index.by_name.values():
            self._place(entry.name, entry.claims.hosts, entry.claims.scope)
        for host in self._vms:
            self.progress(host).mark()  # Nobody knows yet how much of it the host shows.

    def progress(self, host: str) -> HostProgress:
        """Return the progress of a host, connected or not."""
        found = self._progress.get(host)
        if found is None:
            found = self._progress[host] = HostProgress(self._began_s)
        return found

    # What a host has to show.

    def names_on(self, host: str) -> AbstractSet[str]:
        """Return the names of the VMs that are placed on a host."""
        vms = self._vms.get(host)
        return vms.names if vms else frozenset()

    def hosts(self) -> dict[str, int]:
        """Return the number of VMs of each host that has any."""
        return {host: len(vms.names) for host, vms in self._vms.items()}

    def hosts_of(self, vm: str) -> tuple[str, ...]:
        """Return the hosts of a VM."""
        hosts, _ = self._placed.get(vm, ((), ""))
        return hosts

    def is_on(self, vm: str, host: str) -> bool:
        """Tell whether a VM is placed on a host."""
        return vm in self.names_on(host)

    def vm_on(self, host: str, name: str) -> PackedVm | None:
        """Return a VM as a host shows it; None if it is not placed there."""
        entry = self.fleet_index.by_name.get(name)
        if entry is None or host not in entry.claims.hosts:
            return None
        return vm_on(host, name, entry.packed, entry.claims)

    def parts_on(
        self, host: str, names: AbstractSet[str], most: int
    ) -> Iterator[tuple[tuple[PackedVm, ...], frozenset[str]]]:
        """Yield VMs for a host to show and to remove, read part by part.

        A part has at most so many.
        """
        puts: list[PackedVm] = []
        removes: set[str] = set()
        octets = 0
        for name in names:
            vm = self.vm_on(host, name)
            if vm is None:
                removes.add(name)
            else:
                puts.append(vm)
                octets += len(vm.packed)
            if len(puts) + len(removes) >= most or octets >= SLICE_BYTES:
                yield tuple(puts), frozenset(removes)
                puts, removes, octets = [], set(), 0
        if puts or removes:
            yield tuple(puts), frozenset(removes)

    def digests_on(self, host: str) -> dict[str, bytes]:
        """Return the digests of the VMs that a host has to show."""
        by_name = self.fleet_index.by_name
        return {name: digest_of(by_name[name].packed) for name in self.names_on(host)}

    def scope_of(self, vm: str) -> str:
        """Return the scope of events of a VM."""
        _, scope = self._placed.get(vm, ((), ""))
        return scope

    def scopes_on(self, host: str) -> Mapping[str, int]:
        """Return the number of VMs on a host in each scope of events."""
        vms = self._vms.get(host)
        return vms.scopes if vms else {}

    def placement(self, host: str, name: str) -> PlacedVm | None:
        """Return the facts in a VM's credentials, if a host has it."""
        entry = self.fleet_index.by_name.get(name)
        if entry is None or host not in entry.claims.hosts:
            return None
        return placed_vm(entry.vm)

    def asks_for(self, vm: str, effect: str, value: str) -> bool:
        """Tell whether a VM's fault has an effect with a value.

        A fault counts outside its window, too: the clocks of hosts differ.
        """
        return any(
            active.spec.effect == effect
            and (not active.spec.vms or vm in active.spec.vms)
            and value in active.spec.parameters.values()
            for active in self.injector.running
        )

    # Changes, as the parts of control make them.

    async def take_update(self, update: IndexUpdate) -> None:
        """Mark the VMs of an update for their hosts of before and of now."""
        for name in update.removes | update.quarantined.keys():
            self._change(name, (), "")
        for name, vm in update.puts.items():
            self._change(name, vm.claims.hosts, vm.claims.scope)

    async def take_scopes(self, scopes: Mapping[str, PublishedScope]) -> None:
        """Mark scopes for the hosts of their members."""
        for scope in scopes:
            for host in self._hosts_by_scope.get(scope, ()):
                if session := self.sessions.get(host):
                    session.mark_scope(scope)
                else:
                    self.progress(host).mark()

    def note_activity(self, host: str, scopes: Mapping[str, tuple[float, float]]) -> None:
        """Take the requests of a host's own scopes, and mark them for the other hosts."""
        for scope, times in scopes.items():
            hosts = self._hosts_by_scope.get(scope, set())
            if host in hosts and self.activity.merge(scope, *times):
                for other in hosts - {host}:
                    if session := self.sessions.get(other):
                        session.mark_activity(scope)

    @property
    def unplaced_count(self) -> int:
        """The number of VMs without a host."""
        return len(self.fleet_index.by_name) - len(self._placed)

    def prune(self, known: AbstractSet[str]) -> None:
        """Forget scopes that no VM has any longer, and hosts neither known nor with VMs."""
        kept = known | self._vms.keys() | self.sessions.keys()
        for host in self._progress.keys() - kept:
            del self._progress[host]
        for scope in {*self.activity.scopes()} - self._hosts_by_scope.keys():
            self.activity.forget(scope)

    async def fault_counts(self) -> dict[str, FaultCounts]:
        """Return the counts of the faults on all connected hosts together."""
        seen: Counter[str] = Counter()
        played: Counter[str] = Counter()
        sessions = [*self.sessions.values()]
        for found in await asyncio.gather(*(session.fault_counts() for session in sessions)):
            for key, counts in found.items():
                seen[key] += counts.seen
                played[key] += counts.played
        return {key: FaultCounts(seen[key], played[key]) for key in seen}

    async def _leave_listeners(self, wanted: dict[str, str], keep: AbstractSet[str]) -> None:
        """Open no listener here: each host opens those of its VMs."""

    async def _take_faults(self) -> None:
        for session in self.sessions.values():
            session.mark_faults()

    async def _take_clock(self) -> None:
        for session in self.sessions.values():
            session.mark_clock()

    def _forget_tokens(self, names: AbstractSet[str]) -> None:
        """Leave this to the hosts, which see that a VM has changed."""

    def _change(self, name: str, hosts: tuple[str, ...], scope: str) -> None:
        before, _ = self._placed.get(name, ((), ""))
        self._place(name, hosts, scope)
        for host in {*before, *hosts}:
            if session := self.sessions.get(host):
                session.mark_vm(name)
            else:
                self.progress(host).mark()

    def _place(self, name: str, hosts: tuple[str, ...], scope: str) -> None:
        """Move a VM from its hosts of before to those of now."""
        before, old_scope = self._placed.pop(name, ((), ""))
        for host in before:
            vms = self._vms[host]
            vms.names.discard(name)
            vms.scopes[old_scope] -= 1
            if not vms.scopes[old_scope]:
                del vms.scopes[old_scope]
                self._leave_scope(old_scope, host)
            if not vms.names:
                del self._vms[host]
        if hosts:
            self._placed[name] = hosts, scope
        for host in hosts:
            vms = self._vms.setdefault(host, HostVms())
            vms.names.add(name)
            vms.scopes[scope] += 1
            self._hosts_by_scope.setdefault(scope, set()).add(host)

    def _leave_scope(self, scope: str, host: str) -> None:
        hosts = self._hosts_by_scope[scope]
        hosts.discard(host)
        if not hosts:
            del self._hosts_by_scope[scope]
