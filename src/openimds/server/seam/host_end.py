"""The host's end of the seam: does what control asks."""

import asyncio
import gc
from collections.abc import Mapping
from functools import reduce
from typing import TYPE_CHECKING, Any

from openimds.fleet.index import IndexUpdate
from openimds.fleet.vm_entry import PackedVm, unpack
from openimds.protocol.lint import Record
from openimds.protocol.response import Response
from openimds.server.host import Host
from openimds.server.local_host import LocalHost
from openimds.server.seam.events_follower import EventsFollower
from openimds.server.seam.fault_states import FollowedFaults, fault_state
from openimds.server.seam.messages import (
    CREDENTIAL_CALLS,
    PUBLICATION_CALLS,
    SLICE,
    SPOILT_CALLS,
    AnswerState,
    BeginSnapshot,
    CallCredentials,
    ClearRecords,
    CountFaults,
    EndSnapshot,
    FaultState,
    FollowRecords,
    ForgetTokens,
    FromControl,
    GetAsVm,
    Publish,
    ReadFindings,
    ReadLastNumber,
    ReadRecords,
    ReadSamples,
    ReadVariables,
    ReadWalk,
    Rehearse,
    SampleState,
    SeamMessage,
    Spoil,
    TakeRecord,
    UpdateClock,
    UpdateFaults,
    UpdateIndex,
    UpdateScopes,
    WantListeners,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from openimds.admin.metrics import Samples
    from openimds.admin.public_app import PublicationSource
    from openimds.admin.public_faults import SpoiltAnswers

MOST_UNSENT_BYTES = 1 << 20
"""Records are left out for followers while so many octets wait for control."""
FROZEN_EACH = 2000
"""After so many VMs and scopes from control, the garbage collector skips them.

It looks at all of 100,000 VMs in one go, which holds up every guest for 0.1 s.
"""


class HostEnd:
    """Answers the messages of control for a host."""

    def __init__(self, host: Host, public_url: str, follower: EventsFollower) -> None:
        """Answer for this host; `follower` shows its guests the published events."""
        self._host, self._local, self._follower = host, LocalHost(host, public_url), follower
        self._publications: PublicationSource | None = None
        self._spoilt: SpoiltAnswers | None = None
        self._snapshot: set[str] | None = None
        self._faults = FollowedFaults(host.injector, host.fleet_index)
        self._unfrozen = 0
        self._feed: asyncio.Task[None] | None = None
        self.post: Callable[[SeamMessage], None] = lambda _: None
        """Sends a message to control."""
        self.unsent_bytes: Callable[[], int] = lambda: 0

    def begin(self) -> None:
        """Begin with a new control process."""
        self._snapshot = None
        self._faults.forget()
        self._stop_feed()

    @property
    def faults(self) -> tuple[FaultState, ...]:
        """The active faults of the host, for a new control process."""
        return tuple(map(fault_state, self._host.injector.running))

    async def answer(self, message: SeamMessage) -> Any:  # noqa: ANN401, C901, PLR0912 - of the type that the message has
        """Do what a message asks, and return its result."""
        assert isinstance(message, FromControl)
        host = self._host
        match message:
            case WantListeners():
                await host.want_listeners(message.wanted, message.keep)
            case UpdateIndex():
                self._update(message)
            case BeginSnapshot():
                self._snapshot = set()
            case EndSnapshot():
                await self._end_snapshot(message)
            case UpdateScopes():
                self.freeze(len(message.scopes))
                self._follower.take(
                    message.scopes, is_whole=message.is_whole, is_last=message.is_last
                )
            case UpdateFaults():
                self._faults.take(message.faults)
                await host.take_faults()
            case UpdateClock():
                host.clock.take(message.state)
                await host.take_clock()
            case ForgetTokens():
                host.forget_tokens(message.names)
            case CountFaults():
                return {fault.key: fault.counts for fault in host.injector.running}
            case ReadSamples():
                return {name: _state(one) for name, one in (await host.samples()).items()}
            case ReadVariables():
                return host.identity_variables(unpack(message.packed), message.url)
            case GetAsVm():
                answer = await host.get_as(unpack(message.packed), message.target)
                if isinstance(answer, Response):
                    return AnswerState(response=answer)
                return AnswerState(refusal=answer)
            case CallCredentials():
                return await self._call_credentials(message)
            case Rehearse():
                ca = host.credentials.ca
                await asyncio.to_thread(ca.rehearse, message.walk, message.now_s)
            case ReadWalk():
                return await asyncio.to_thread(host.credentials.ca.walk, message.now_s)
            case Publish():
                return await self._publish(message)
            case Spoil():
                return await self._spoil(message)
            case _:
                return await self._of_records(message)
        return None

    # The fleet.

    def _update(self, message: UpdateIndex) -> None:
        index = self._host.fleet_index
        self.freeze(len(message.puts))
        puts = {vm.name: vm for vm in message.puts}
        if self._snapshot is not None:
            self._snapshot |= puts.keys()
            # A VM that has not changed keeps its responses.
            puts = {name: vm for name, vm in puts.items() if not self._is_shown(vm)}
        index.apply(
            IndexUpdate(
                puts,
                message.removes,
                index.listeners if message.listeners is None else message.listeners,
                message.clouds,
                message.has_identities,
                message.quarantined,
            )
        )

    def freeze(self, count: int) -> None:
        """Exempt from collection what has come, each time that it is much."""
        self._unfrozen += count
        if self._unfrozen >= FROZEN_EACH:
            self._unfrozen = 0
            gc.collect(1)  # A cycle that is garbage already would stay.
            gc.freeze()

    def _is_shown(self, vm: PackedVm) -> bool:
        entry = self._host.fleet_index.by_name.get(vm.name)
        return entry is not None and (entry.packed, entry.claims) == (vm.packed, vm.claims)

    async def _end_snapshot(self, message: EndSnapshot) -> None:
        index, kept = self._host.fleet_index, self._snapshot or set()
        self._snapshot = None
        absent = frozenset(index.by_name.keys() - kept)
        index.quarantine.clear()
        index.apply(
            IndexUpdate(
                {},
                absent,
                message.listeners,
                message.clouds,
                message.has_identities,
                message.quarantined,
            )
        )
        self._host.forget_tokens(absent)
        await self._host.want_listeners(message.listeners, frozenset())

    # Keys and certificates.

    async def _call_credentials(self, message: CallCredentials) -> object:
        assert message.name in CREDENTIAL_CALLS
        method = reduce(getattr, message.name.split("."), self._host.credentials)
        assert callable(method)
        return await asyncio.to_thread(method, *message.arguments)

    async def _publish(self, message: Publish) -> object:
        assert message.name in PUBLICATION_CALLS
        if self._publications is None:
            self._publications = await asyncio.to_thread(self._local.publications)
        method: Callable[..., object] = getattr(self._publications, message.name)
        return await asyncio.to_thread(method, *message.arguments)

    async def _spoil(self, message: Spoil) -> object:
        assert message.name in SPOILT_CALLS
        if self._spoilt is None:
            self._spoilt = await asyncio.to_thread(self._local.rehearsed_answers)
        method: Callable[..., object] = getattr(self._spoilt, message.name)
        return await asyncio.to_thread(method, *message.arguments)

    # Recorded requests.

    async def _of_records(self, message: FromControl) -> object:
        recording = self._local.recording
        match message:
            case ReadRecords():
                return (await recording.records(message.vm, message.since))[:SLICE]
            case ReadLastNumber():
                return await recording.last_number()
            case ReadFindings():
                return await recording.findings()
            case ClearRecords():
                await recording.clear()
            case FollowRecords():
                self._stop_feed()
                if message.is_on:
                    self._feed = asyncio.get_running_loop().create_task(self._send_records())
        return None

    async def _send_records(self) -> None:
        recording = self._local.recording
        feed = recording.subscribe()
        try:
            while True:
                record: Record | None = await feed.get()
                if record is not None and self.unsent_bytes() < MOST_UNSENT_BYTES:
                    self.post(TakeRecord(record))
        finally:
            recording.unsubscribe(feed)

    def _stop_feed(self) -> None:
        if self._feed:
            self._feed.cancel()
        self._feed = None

    def close(self) -> None:
        """End what follows the host."""
        self._stop_feed()


def _state(samples: "Samples") -> SampleState:
    if not isinstance(samples, Mapping):
        return SampleState(float(samples))
    by_label = tuple((key, float(one)) for key, one in samples.items() if isinstance(key, str))
    by_labels = tuple((key, float(one)) for key, one in samples.items() if isinstance(key, tuple))
    return SampleState(None, by_label, by_labels)
