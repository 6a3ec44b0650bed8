"""A connected host, as control sends it what it has to show.

What changes is marked by name. One task sends the newest state of all marks, again and again: a
slow host gets fewer and larger messages, and never more waits for it than its own VMs.
"""

import asyncio
from collections.abc import Awaitable, Callable
from collections.abc import Set as AbstractSet
from contextlib import suppress
from typing import Any

from msgspec import Struct

from openimds.credentials.pki.leaf_requests import LeafReply
from openimds.credentials.remote.mint_service import MintService
from openimds.errors import Error
from openimds.events.service import EventsService
from openimds.faults.injector import FaultCounts
from openimds.fleet.vm_entry import PackedVm
from openimds.protocol.pending import Failed
from openimds.protocol.request_log import Record
from openimds.server.hosts.digests import differing, digest_of_all
from openimds.server.hosts.host_faults import HostFaults
from openimds.server.hosts.link import HostsLink
from openimds.server.hosts.messages import (
    DIGESTS_AT_ONCE,
    FEED_VERSION,
    Certify,
    Hello,
    KeepScopes,
    Make,
    NoteActivity,
    NoteRefused,
    PutVms,
    ReadDigests,
    Shown,
    Welcome,
)
from openimds.server.seam.channel import Channel, ChannelClosedError
from openimds.server.seam.messages import (
    SLICE,
    Approve,
    CountFaults,
    Ping,
    ReadRecords,
    ScopeState,
    SeamMessage,
    UpdateClock,
    UpdateScopes,
)

BOOKMARK_S = 5.0
"""The longest time between two messages to a host that has all."""
PATIENCE_S = 20.0
"""A host that has not answered a message for so long is cut off; it connects anew."""
MOST_REMOVED_SHARE = 0.1
"""A comparison that removes a larger share of what a host shows is confirmed in the store."""

Confirm = Callable[[AbstractSet[str], str], Awaitable[AbstractSet[str]]]
"""Returns those of some VMs that the store has on a host after all."""


class StoreLead(Struct, frozen=True):
    """The lead of a control: the store's identity, and the lease's epoch."""

    identity: str
    epoch: int


class HostSession:
    """Sends a host its VMs, events, faults and clock, and answers for its guests."""

    def __init__(  # noqa: PLR0913, PLR0917 - a host, and all that it reads
        self,
        name: str,
        channel: Channel,
        link: HostsLink,
        store: StoreLead,
        events: EventsService,
        mint: MintService,
        secret_of: Callable[[str], str],
        confirm: Confirm,
        store_age_s: Callable[[], float],
    ) -> None:
        """Serve the host of a name for the control that leads `store`."""
        self.name, self.channel = name, channel
        self.revision = -1
        """The revision that the host shows; -1 before the first comparison has ended."""
        self.refused: dict[str, str] = {}
        """The VMs that the host could not take, with the reasons."""
        self.release = ""
        self.sent_vms = 0
        self.leaf_failure = ""
        """The reason why control certified no leaves at the last request, or empty."""
        self.progress = link.progress(name)
        self.progress.mark()  # It may lack anything until the first comparison has ended.
        self._link, self._store = link, store
        self._events, self._mint, self._secret_of = events, mint, secret_of
        self._confirm, self._store_age_s = confirm, store_age_s
        self._vms: set[str] = set()
        self._sent: set[str] = set()
        """The VMs that are being sent."""
        self._scopes: set[str] = set()
        self._sent_scopes: AbstractSet[str] = frozenset()
        self._active: set[str] = set()
        self._shown_scopes: dict[str, int] = {}
        """The scopes that the host has, with their incarnations."""
        self._has_faults = self._has_clock = self._is_settled = False
        self._has_all_scopes = self._has_extra_scopes = False
        """Whether all scopes are to be sent, and whether the host may show others."""
        self._faults = HostFaults(name, link)
        self._wake = asyncio.Event()

    # Marks.

    def mark_vm(self, name: str) -> None:
        """Mark a VM that was put, removed or moved."""
        self._vms.add(name)
        self._mark()

    def mark_scope(self, scope: str) -> None:
        """Mark a scope of events."""
        self._scopes.add(scope)
        self._mark()

    def mark_activity(self, scope: str) -> None:
        """Mark a scope whose guests on other hosts have asked for events."""
        self._active.add(scope)
        self._wake.set()

    def mark_faults(self) -> None:
        """Mark the faults."""
        self._has_faults = True
        self._mark()

    def mark_clock(self) -> None:
        """Mark the clock, and with it the faults, which follow its time."""
        self._has_clock = self._has_faults = True
        self._mark()

    def _mark(self) -> None:
        self.progress.mark()
        self._wake.set()

    async def fault_counts(self) -> dict[str, FaultCounts]:
        """Return the counts of the faults on the host; none without an answer."""
        try:
            async with asyncio.timeout(PATIENCE_S):
                counts: dict[str, FaultCounts] = await self.channel.call(CountFaults())
        except (Error, TimeoutError):
            return {}
        return counts

    async def records(self, vm: str, since: int) -> tuple[Record, ...]:
        """Return some requests of a VM behind a number, oldest first.

        Raises:
            ChannelClosedError: the host has gone.
        """
        found: tuple[Record, ...] = await self.channel.call(ReadRecords(vm, since))
        return found

    @property
    def is_settled(self) -> bool:
        """Whether the host shows all that was marked."""
        return self._is_settled and not self._wake.is_set()

    @property
    def unshown_vms(self) -> int:
        """The number of marked VMs that the host does not show yet."""
        return len(self._vms | self._sent)

    @property
    def unshown_scopes(self) -> int:
        """The number of marked scopes of events that it does not show yet."""
        return len(self._scopes | self._sent_scopes)

    def shows(self, vm: str) -> bool:
        """Tell whether the host shows the newest state of a VM, and of its events."""
        waiting = vm in self._vms or vm in self._sent or vm in self.refused
        return self.revision >= 0 and not waiting and self._is_shown(self._link.scope_of(vm))

    def _is_shown(self, scope: str) -> bool:
        """Tell whether the host has the newest events of a scope."""
        published = self._link.scopes().get(scope)
        return published is None or published.incarnation == self._shown_scopes.get(scope)

    # The host's questions.

    async def answer(self, message: SeamMessage) -> Any:  # noqa: ANN401 - of the type that the message has
        """Answer a question of the host for one of its VMs.

        Raises:
            Error: the VM is not placed on this host.
        """
        match message:
            case Approve():
                need = message.need
                self._check_placed(need.vm)
                if need.scope != self._link.scope_of(need.vm):
                    raise Error(f"{need.vm} is not in the scope {need.scope}")
                outcome = await self._events.approve(need)
                return outcome if isinstance(outcome, Failed) else None
            case Make():
                return await self._mint.make_for(self.name, message.need, self._link.clock())
            case NoteActivity():
                self._link.note_activity(self.name, message.scopes)
                return None
            case NoteRefused():
                self.refused = message.refused
                return None
            case Certify():
                return await self._certify(message)
            case _:
                assert isinstance(message, Ping)
                return None

    async def _certify(self, message: Certify) -> LeafReply:
        """Certify leaves, and note the reason of a failure."""
        try:
            reply = await self._mint.certify(self.name, message.request, self._link.clock())
        except Error as error:
            self.leaf_failure = str(error)
            raise
        self.leaf_failure = ""
        return reply

    def _check_placed(self, vm: str) -> None:
        """Check that a VM is placed on this host.

        Raises:
            Error: it is not; a host answers for its own VMs alone.
        """
        if not self._link.is_on(vm, self.name):
            raise Error(f"{vm} is not placed on the host {self.name}")

    # What the host has to show.

    def welcome(self, hello: Hello) -> Welcome:
        """Return the answer to the first message of the host, which `run` then serves."""
        self.release = hello.release
        return Welcome(FEED_VERSION, self._store.identity, self.name, self._store.epoch)

    async def run(self, hello: Hello) -> None:
        """Send the difference to what the host shows, then each change, until it goes.

        Raises:
            ChannelClosedError: the host has gone.
        """
        await self._compare(hello)
        while True:
            await self._send_marked()
            shown = Shown(self._store.identity, self.revision, self._store_age_s())
            self.refused = await self._call(shown)
            with suppress(TimeoutError):
                async with asyncio.timeout(BOOKMARK_S):
                    await self._wake.wait()

    async def _compare(self, hello: Hello) -> None:
        """Mark all that differs from what the host shows."""
        link = self._link
        wanted = link.digests_on(self.name)
        if digest_of_all(wanted) != hello.digest or len(wanted) != hello.count:
            shown = await self._read_digests()
            # What this release cannot read is left as the host has it.
            absent = shown.keys() - wanted.keys() - link.fleet_index.quarantine.keys()
            self._vms |= differing(wanted, shown) & wanted.keys()
            if len(absent) > MOST_REMOVED_SHARE * len(shown):
                if wrong := await self._confirm(absent, self.name):
                    raise Error(
                        f"{len(wrong)} VMs of the host {self.name} are in the store, but not in "
                        f"the memory of this control, such as {min(wrong)}: nothing is removed"
                    )
                await self._put((), absent, is_confirmed=True)
            else:
                self._vms |= absent
        self._has_faults = self._has_all_scopes = True
        self._has_clock = link.clock.is_virtual
        self._wake.set()

    async def _read_digests(self) -> dict[str, bytes]:
        """Return the digests of all VMs that the host shows."""
        shown: dict[str, bytes] = {}
        while True:
            part: dict[str, bytes] = await self._call(ReadDigests(max(shown, default="")))
            shown |= part
            if len(part) < DIGESTS_AT_ONCE:
                return shown

    async def _send_marked(self) -> None:
        """Send the newest state of all that is marked."""
        self._wake.clear()
        self.progress.begin()
        self._is_settled = False
        link, revision = self._link, self._link.revision()
        if self._has_clock:
            self._has_clock = False
            await self._call(UpdateClock(link.clock.state))
        names, self._vms = self._vms, set()
        self._sent = names
        await self._send_scopes({*self._scopes})
        for puts, removes in link.parts_on(self.name, names, SLICE):
            # Those that VMs bring come before them, also if a VM has changed meanwhile.
            await self._send_scopes({link.scope_of(vm.name) for vm in puts})
            await self._put(puts, removes)
        self._has_faults |= self._faults.bring(names)
        await self._drop_scopes()
        await self._send_activity(names)
        self._sent, self._sent_scopes = set(), frozenset()
        if self._has_faults:
            self._has_faults = False
            for message in self._faults.messages():
                await self._call(message)
        self.revision, self._is_settled = revision, True
        self.progress.end()

    async def _put(
        self,
        puts: tuple[PackedVm, ...],
        removes: AbstractSet[str],
        *,
        is_confirmed: bool = False,
    ) -> None:
        now_s = self._link.clock()
        message = PutVms(
            puts,
            frozenset(removes),
            is_confirmed,
            {vm.name: self._secret_of(vm.name) for vm in puts},
            tuple(token for vm in puts for token in self._mint.asked(vm.name, now_s)),
        )
        self.refused = await self._call(message)
        self.sent_vms += len(puts)

    async def _send_scopes(self, wanted: AbstractSet[str]) -> None:
        """Send those of these scopes that have changed; after a comparison all of the host."""
        link = self._link
        published, own = link.scopes(), link.scopes_on(self.name)
        if self._has_all_scopes:
            self._has_all_scopes, self._has_extra_scopes = False, True
            wanted = {*own}
        self._scopes -= wanted
        states = [
            ScopeState(scope, published[scope].events, published[scope].incarnation)
            for scope in wanted & own.keys() & published.keys()
            if not self._is_shown(scope)
        ]
        self._sent_scopes |= {state.scope for state in states}
        for start in range(0, len(states), SLICE):
            await self._call(UpdateScopes(tuple(states[start : start + SLICE])))
        self._shown_scopes |= {state.scope: state.incarnation for state in states}

    async def _drop_scopes(self) -> None:
        """Have the host show no scope whose last VM it has lost."""
        if self._vms:
            return  # The host may show one of these VMs in the scope that it had before.
        own = self._link.scopes_on(self.name).keys()
        if self._has_extra_scopes or not self._shown_scopes.keys() <= own:
            self._has_extra_scopes = False
            for scope in self._shown_scopes.keys() - own:
                del self._shown_scopes[scope]
            await self._call(KeepScopes(frozenset(self._shown_scopes)))

    async def _send_activity(self, names: AbstractSet[str]) -> None:
        """Send the requests of marked scopes, and of those that VMs have brought here."""
        link = self._link
        active, self._active = self._active | {link.scope_of(name) for name in names}, set()
        own = link.scopes_on(self.name)
        found = {
            scope: times for scope in active & own.keys() if (times := link.activity.of(scope))
        }
        if found:
            await self._call(NoteActivity(found))

    async def _call(self, message: SeamMessage) -> Any:  # noqa: ANN401 - of the type that the message has
        """Return the result of a message.

        Raises:
            ChannelClosedError: the host has gone, or has not answered for long.
        """
        try:
            async with asyncio.timeout(PATIENCE_S):
                result = await self.channel.call(message)
        except TimeoutError:
            self.channel.close()
            raise ChannelClosedError(
                f"the host {self.name} has not answered for {PATIENCE_S:g} s"
            ) from None
        self.progress.answered()
        return result
