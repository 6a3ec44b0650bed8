"""The host in another process, as control reads and changes it."""

import asyncio
import time
from asyncio import AbstractEventLoop
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from collections.abc import Set as AbstractSet
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import urlsplit

import msgspec.msgpack

from openimds.errors import Error
from openimds.events.clock import Clock
from openimds.events.writer import PublishedScope
from openimds.facts.versions import catalog
from openimds.faults.injector import FaultCounts, FaultInjector
from openimds.fleet.index import FleetIndex, IndexUpdate
from openimds.fleet.vm_entry import PackedVm
from openimds.protocol.response import Refusal, Response
from openimds.server.connection_filters import ConnectionFilters
from openimds.server.inherited_sockets import InheritedSockets
from openimds.server.notify import Notify
from openimds.server.operator_log import log_samples
from openimds.server.process_metrics import CONTROL, merged, process_samples
from openimds.server.seam.channel import Channel
from openimds.server.seam.fault_states import active_fault, fault_state
from openimds.server.seam.messages import (
    SLICE,
    SLICE_BYTES,
    AnswerState,
    Begin,
    BeginSnapshot,
    CountFaults,
    EndSnapshot,
    ForgetTokens,
    GetAsVm,
    Publish,
    ReadLastNumber,
    ReadSamples,
    ReadVariables,
    SampleState,
    ScopeState,
    SeamMessage,
    UpdateClock,
    UpdateFaults,
    UpdateIndex,
    UpdateScopes,
    WantListeners,
)
from openimds.server.seam.publication_access import PublicationAccess
from openimds.server.seam.remote_credentials import RemoteCredentials, RemoteSpoiltAnswers
from openimds.server.seam.remote_recording import RemoteRecording
from openimds.vm.types import Vm

if TYPE_CHECKING:
    from openimds.admin.metrics import Samples

T = TypeVar("T")
_pack = msgspec.msgpack.Encoder().encode
_PLAYED = "openimds_faults_played"
_FRESH_S, _PATIENCE_S = 0.1, 2.0
"""How long an answer of the host counts, and the longest wait for one."""
_EVENT_BYTES = 1 << 10
"""About the length of an event in a message."""
_COPY_CACHE_BYTES = 1 << 20
"""Control's copy of the index caches nothing."""


class RemoteHost:
    """Reaches a host over a channel; control's copies are the truth that the host follows."""

    def __init__(self, begin: Begin, notify: Notify) -> None:
        """Begin with what guests are served; `channel` is set before the first call."""
        settings = begin.settings
        self.channel: Channel
        self._notify = notify
        self.fleet_index: FleetIndex[Any] = FleetIndex(
            catalog(settings.newest_version), _COPY_CACHE_BYTES
        )
        self.clock = Clock(time.time, is_virtual=settings.virtual_clock)
        self.injector = FaultInjector()
        self.injector.running = tuple(map(active_fault, begin.faults))
        self.had_keys = begin.had_keys
        self.hides_events = True
        self.recording = RemoteRecording(lambda: self.channel, settings.record)
        self.credentials = RemoteCredentials(self.wait, self.forget_publications)
        filters = ConnectionFilters(
            self.injector, self.clock, self.fleet_index, lambda: (), InheritedSockets(), notify
        )
        self.check_faults = filters.check
        self.loop: AbstractEventLoop = asyncio.get_running_loop()
        bases = (settings.issuer if settings.issuer.startswith("http") else "", begin.public_url)
        self._prefixes = frozenset(path for base in bases if (path := urlsplit(base).path))
        self._is_followed = False
        self._answered_s = float("-inf")
        self._published: PublicationAccess | None = None

    # Changes of what guests are served.

    async def want_listeners(self, wanted: dict[str, str], keep: AbstractSet[str]) -> None:
        """Open the missing listeners of single VMs; close those neither wanted nor kept.

        Raises:
            TakenError: a listener cannot be opened.
        """
        await self.channel.call(WantListeners(wanted, frozenset(keep)))

    async def take_update(self, update: IndexUpdate) -> None:
        """Serve an update that control's copy of the index has taken."""
        if not self._is_followed:
            return  # The snapshot will have it.
        slices = list(_slices(update.puts.values(), _size_of_vm)) or [()]
        for puts in slices[:-1]:
            await self.channel.call(UpdateIndex(puts))
        await self.channel.call(
            UpdateIndex(
                slices[-1],
                update.removes,
                update.quarantined,
                update.clouds,
                update.has_identities,
                update.listeners,
            )
        )

    def forget_tokens(self, names: AbstractSet[str]) -> None:
        """Forget the tokens of changed VMs, where the settings ask for it."""
        self.channel.post(ForgetTokens(frozenset(names)))

    async def take_scopes(self, scopes: Mapping[str, PublishedScope]) -> None:
        """Show the published events of these scopes."""
        if self._is_followed:
            await self._send_scopes(scopes, is_whole=False)

    async def take_faults(self) -> None:
        """Play the faults that control's injector has now."""
        if self._is_followed:
            states = tuple(map(fault_state, self.injector.running))
            await self.channel.call(UpdateFaults(states))

    async def take_clock(self) -> None:
        """Show the time of control's clock; drop responses of the old time."""
        if self._is_followed:
            await self.channel.call(UpdateClock(self.clock.state))

    async def send_snapshot(self, scopes: Mapping[str, PublishedScope]) -> None:
        """Send all that guests are served; from now on each change follows."""
        index = self.fleet_index
        if self.clock.is_virtual:
            await self.channel.call(UpdateClock(self.clock.state))
        await self.channel.call(BeginSnapshot())
        vms = (PackedVm(one.name, one.packed, one.claims) for one in index.by_name.values())
        for puts in _slices(vms, _size_of_vm):
            await self.channel.call(UpdateIndex(puts))
        await self.channel.call(
            EndSnapshot(index.listeners, index.clouds, index.has_identities, index.quarantine)
        )
        await self._send_scopes(scopes, is_whole=True)
        self._is_followed = True
        await self.take_faults()

    async def _send_scopes(self, scopes: Mapping[str, PublishedScope], *, is_whole: bool) -> None:
        states = (ScopeState(key, one.events, one.incarnation) for key, one in scopes.items())
        parts = list(_slices(states, _size_of_scope)) or [()]
        for number, part in enumerate(parts, 1):
            is_first, is_last = number == 1, number == len(parts) or not is_whole
            await self.channel.call(
                UpdateScopes(part, is_whole=is_whole and is_first, is_last=is_last)
            )

    # Questions of the admin API and the public port.

    async def fault_counts(self) -> dict[str, FaultCounts]:
        """Return the counts of the faults by key."""
        counts: dict[str, FaultCounts] = await self.channel.call(CountFaults())
        return counts

    async def check(self) -> None:
        """Check that the host answers, unless it has a moment ago.

        Raises:
            Error: it does not.
        """
        if time.monotonic() - self._answered_s < _FRESH_S:
            return
        try:
            async with asyncio.timeout(_PATIENCE_S):
                await self.channel.call(ReadLastNumber())
        except TimeoutError:
            raise Error("the process that answers guests does not respond") from None
        self._answered_s = time.monotonic()

    async def samples(self) -> "Mapping[str, Samples]":
        """Return the values of the host's metrics."""
        states: dict[str, SampleState] = await self.channel.call(ReadSamples())
        samples = {name: _samples(state) for name, state in states.items()}
        # The faults of the public port are played in this process.
        played = Counter(dict(states[_PLAYED].by_label)) + Counter(self.injector.played)
        samples[_PLAYED] = played
        of_process = await asyncio.to_thread(process_samples, CONTROL)
        for name, own in (of_process | log_samples(self._notify, CONTROL)).items():
            samples[name] = merged(samples.get(name, {}), own)
        return samples

    async def endpoint_variables(self, vm: Vm, url: str) -> dict[str, dict[str, str]]:
        """Return the environment variables of a VM's clients by token route."""
        found: dict[str, dict[str, str]] = await self.channel.call(ReadVariables(_pack(vm), url))
        return found

    async def get_as(self, vm: Vm, target: str) -> Response | Refusal:
        """Answer a GET of a target as the VM is answered."""
        answer: AnswerState = await self.channel.call(GetAsVm(_pack(vm), target))
        found = answer.response or answer.refusal
        assert found is not None
        return found

    def publications(self) -> PublicationAccess:
        """Return the documents of the public port."""

        def ask(name: str, arguments: tuple[str | bytes, ...]) -> object:
            return self.wait(Publish(name, arguments))

        self._published = PublicationAccess(ask, self._prefixes, time.monotonic, time.sleep)
        return self._published

    def forget_publications(self) -> None:
        """Ask the host again for each document of the public port."""
        if self._published:
            self._published.forget()

    def rehearsed_answers(self) -> RemoteSpoiltAnswers:
        """Return the signed answers of the public port that are wrong on purpose."""
        return RemoteSpoiltAnswers(self.wait)

    def wait(self, message: SeamMessage) -> Any:  # noqa: ANN401 - of the type that the message has
        """Return the result of a message; call it in another thread than the loop's."""
        return asyncio.run_coroutine_threadsafe(self.channel.call(message), self.loop).result()


def _slices(values: Iterable[T], size: Callable[[T], int]) -> Iterator[tuple[T, ...]]:
    """Yield parts that the host takes within a few milliseconds; `size` counts octets."""
    part: list[T] = []
    octets = 0
    for value in values:
        part.append(value)
        octets += size(value)
        if len(part) == SLICE or octets >= SLICE_BYTES:
            yield tuple(part)
            part, octets = [], 0
    if part:
        yield tuple(part)


def _size_of_vm(vm: PackedVm) -> int:
    return len(vm.packed)


def _size_of_scope(state: ScopeState) -> int:
    return _EVENT_BYTES * len(state.events)


def _samples(state: SampleState) -> "Samples":
    if state.one is not None:
        return state.one
    return dict(state.by_labels) if state.by_labels else dict(state.by_label)
