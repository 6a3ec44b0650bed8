"""The host's end: it shows what control sends, and serves on when control is away."""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from ssl import SSLCertVerificationError
from typing import Any

from msgspec import MsgspecError

from openimds import __version__
from openimds.errors import Error
from openimds.fleet.applied_file import batches
from openimds.fleet.index import IndexUpdate
from openimds.fleet.quarantine import TakenError
from openimds.fleet.vm_entry import PackedVm, unpack
from openimds.log.events import FEED_BROKEN, FEED_RECOVERED
from openimds.protocol.pending import Approved, Failed, PendingApproval
from openimds.server.host import Host
from openimds.server.hosts.digests import digest_of, digest_of_all, page
from openimds.server.hosts.host_credentials import FleetCredentials
from openimds.server.hosts.local_files import FollowState, LocalVms
from openimds.server.hosts.messages import (
    DIGESTS_AT_ONCE,
    FEED_VERSION,
    Hello,
    KeepScopes,
    NoteActivity,
    NoteRefused,
    PutVms,
    ReadDigests,
    Shown,
    ToFleetHost,
    Wait,
    Welcome,
)
from openimds.server.hosts.session import MOST_REMOVED_SHARE, PATIENCE_S
from openimds.server.notify import Notify
from openimds.server.seam.channel import CertificateRefusedError, Channel, ChannelClosedError
from openimds.server.seam.events_follower import EventsFollower
from openimds.server.seam.host_end import HostEnd
from openimds.server.seam.messages import SLICE, Approve, Ping, SeamMessage
from openimds.vm.types import Vm

LONGEST_PAUSE_S = 2.0
"""The longest pause before the next attempt to reach control."""
STALE_S = 10.0
"""A control whose lease is not renewed for so long may have been replaced."""
RETURN_S = 20.0
"""The time between two departures from a control with a stale lease, if the first has led back.

Two addresses may be one control, or the next leader may still load. The time doubles with each such
departure: a host neither comes and goes all through an outage, nor stays with a replaced control.
"""
_LONGEST_RETURN_S = 320.0
WAIT_PAUSE_S = 1.0
"""The longest pause where a control does not lead: it may lead a moment later."""
_MOST_DOUBLED = 10
"""The pause is at its longest before; a host may be without control for weeks."""

_CERTIFICATE_ERRORS = (SSLCertVerificationError, CertificateRefusedError)
"""Control's root is not the one that this host knows, or control does not know this host."""

Answer = Callable[[SeamMessage], Awaitable[Any]]
Connect = Callable[[str, Answer], Awaitable[Channel]]
"""Connects to control at an address; raises Error or OSError."""


class HostFollower:
    """Follows the one of several controls that leads."""

    def __init__(  # noqa: PLR0913 - a host, its ends, and the world around it
        self,
        host: Host,
        end: HostEnd,
        controls: Sequence[str],
        connect: Connect,
        notify: Notify,
        *,
        steady: Callable[[], float],
        chance: Callable[[], float],
        credentials: FleetCredentials | None = None,
        events: EventsFollower | None = None,
    ) -> None:
        """Follow one of the controls at these addresses; `chance` returns numbers below 1.

        `credentials` are those of the host's guests; without them, the host signs by itself.
        """
        self._credentials, self._events = credentials, events
        if credentials:
            credentials.ask = self.ask
        self.state = FollowState()
        self.caught_up = asyncio.Event()
        """Set once the host shows all that it has to, for the first time."""
        self._host, self._end, self._controls = host, end, tuple(controls)
        self._connect, self._notify = connect, notify
        self._steady, self._chance = steady, chance
        self.local_vms = LocalVms()
        self._channel: Channel | None = None
        self._digests: dict[str, bytes] = {}
        self._removed = self._counted = 0
        self._order = deque(self._controls)
        self._epoch = 0
        """The epoch of the control that is followed."""
        self._left: tuple[str, int] | None = None
        """The store and the epoch of the control that was left last because its lease was stale."""
        self._return_s, self._stay_until_s = RETURN_S, float("-inf")
        self._unread: dict[str, str] = {}
        self._unopened: dict[str, str] | None = {}
        """The VMs whose listener cannot be opened; None after an attempt that did not end."""
        self._is_comparing = self._is_lost = False
        self._refusals: dict[str, str] = {}
        """The last reported refusal of each control, also of what this host sends."""
        self._refusing: set[str] = set()
        """The controls whose last answer refuses this host's certificate."""

    @property
    def vm_count(self) -> int:
        """The number of VMs that the host shows."""
        return len(self._digests)

    @property
    def is_following(self) -> bool:
        """Whether a control is followed."""
        return self._channel is not None

    @property
    def is_refused(self) -> bool:
        """Whether no control is followed, and one refuses this host's certificate.

        Silence and an error of another kind are no refusal: to join again ends valid certificates.
        """
        return self._channel is None and bool(self._refusing)

    def forget_refusals(self) -> None:
        """Wait for the next attempt: this host has a new certificate."""
        self._refusals.clear()
        self._refusing.clear()

    def silent_s(self) -> float:
        """Return the time since the last message of a control."""
        return self._steady() - self.state.last_s

    # Questions to control.

    async def approve(self, need: PendingApproval) -> Approved | Failed:
        """Have control store an approval.

        Raises:
            Error: it cannot now, or the VM is not this host's.
        """
        failure: Failed | None = await self._ask(Approve(need))
        return failure or Approved()

    def note_activity(self, *, is_whole: bool = False) -> None:
        """Send control the requests of scopes for events, where events wait for them."""
        if self._channel and self._events:
            new = self._events.new_activity(is_whole=is_whole)
            for part in batches([*new], SLICE):
                self._channel.post(NoteActivity({scope: new[scope] for scope in part}))

    def note_bound(self) -> None:
        """Tell control which VMs the host rules do not bind yet, where that has changed."""
        before = self.state.refused
        self._note_refused()
        if self._channel and self.state.refused != before:
            self._channel.post(NoteRefused(self.state.refused))

    async def ask(self, message: SeamMessage) -> Any:  # noqa: ANN401 - of the type that the message has
        """Return the result of a message to control.

        Raises:
            Error: as `approve`.
        """
        return await self._ask(message)

    async def _ask(self, message: SeamMessage) -> Any:  # noqa: ANN401 - as above
        if self._channel is None:
            raise ChannelClosedError(f"control is away: {self.state.reason}")
        return await self._channel.call(message)

    # The connection.

    async def run(self) -> None:
        """Follow control for ever; pauses are drawn by chance, so hosts come apart."""
        failures = 0
        while True:
            waited = False
            for _ in self._controls:
                control = self._order[0]
                self._order.rotate(-1)  # The next one is another, where there are several.
                try:
                    waited |= not await self._follow(control)
                except Exception as error:  # noqa: BLE001 - also after an internal error
                    is_refusal = isinstance(error, SSLCertVerificationError) or not isinstance(
                        error, OSError | ChannelClosedError
                    )
                    if isinstance(error, _CERTIFICATE_ERRORS):
                        self._refusing.add(control)
                    self._lose(f"{control}: {reason_of(error)}", control if is_refusal else "")
                else:
                    failures = 0
            failures = min(failures + 1, _MOST_DOUBLED)
            most_s = min(LONGEST_PAUSE_S, 0.5 * 2**failures)
            await asyncio.sleep((WAIT_PAUSE_S if waited else most_s) * self._chance())

    async def _follow(self, control: str) -> bool:
        """Follow a control until it goes; return False if it says wait.

        Raises:
            Error, OSError: it cannot be reached, or does not speak these messages.
        """
        channel = await self._connect(control, self.answer)
        reading = asyncio.create_task(channel.run())
        try:
            async with asyncio.timeout(PATIENCE_S):
                answer: Welcome | Wait = await channel.call(self._hello())
            self._refusing.discard(control)
            if isinstance(answer, Wait):
                self._lose(f"{control}: {answer.reason}")
                return False
            self._check_epoch(answer)
            if self._left and (self._left[0] != answer.store or self._left[1] < answer.epoch):
                self._forget_departure()
            self._end.begin()
            self._removed, self._counted = 0, len(self._digests)
            self._is_comparing = True
            self.state.control, self.state.reason = control, ""
            self.state.connections += 1
            self.state.store_age_s = 0.0
            self.state.last_s = self._steady()
            self._channel = channel
            self.note_activity(is_whole=True)
            if self._is_lost:
                self._is_lost = False
                self.forget_refusals()
                self._notify(
                    FEED_RECOVERED.message(
                        f"control at {control} is followed again", control=control
                    )
                )
            reason = await self._watch(reading, control)
        except TimeoutError:
            raise Error("no answer") from None
        finally:
            self._channel = None
            channel.abort()  # A peer that has gone answers no end of TLS.
            await asyncio.wait({reading})
        self._lose(reason)
        return True

    async def _watch(self, reading: "asyncio.Task[None]", control: str) -> str:
        """Wait until control goes, sends nothing for long, or leads no longer; return which."""
        while not reading.done():
            if self._left_s() <= 0:
                return f"{control} has sent nothing for {PATIENCE_S:g} s"
            if self._may_leave() and await self._finds_another(reading, control):
                self._note_departure()
                age_s = self.state.store_age_s
                return f"{control} has not renewed its lease for {age_s:.0f} s"
            await asyncio.wait({reading}, timeout=max(0.0, min(self._left_s(), STALE_S)))
        return f"{control} has closed the connection"

    def _left_s(self) -> float:
        """Return the time in which the next message has to come."""
        return self.state.last_s + PATIENCE_S - self._steady()

    def _may_leave(self) -> bool:
        """Wait until control goes, is silent for long, or leads no longer; return which."""
        return self.state.store_age_s > STALE_S and self._steady() >= self._stay_until_s

    def _note_departure(self) -> None:
        self._left = (self.state.store, self._epoch)
        self._stay_until_s = self._steady() + self._return_s
        self._return_s = min(2 * self._return_s, _LONGEST_RETURN_S)

    def _forget_departure(self) -> None:
        self._left, self._return_s, self._stay_until_s = None, RETURN_S, float("-inf")

    async def _finds_another(self, reading: "asyncio.Task[None]", control: str) -> bool:
        """Look for another control while the lease is stale and the connection lasts."""
        looking = asyncio.create_task(self._is_another_there(control))
        both = {reading, looking}
        try:
            timeout_s = max(0.0, self._left_s())
            await asyncio.wait(both, timeout=timeout_s, return_when=asyncio.FIRST_COMPLETED)
            may_leave = self._may_leave() and not reading.done()
            return may_leave and looking.done() and looking.result()
        finally:
            looking.cancel()
            await asyncio.gather(looking, return_exceptions=True)

    async def _is_another_there(self, control: str) -> bool:
        """Tell whether another control accepts hosts: then it leads, and this one is cut off."""
        for other in self._controls:
            if other != control:
                with suppress(Exception):
                    (await self._connect(other, self.answer)).abort()
                    return True
        return False

    def _check_epoch(self, welcome: Welcome) -> None:
        """Check that a control was not replaced by one that this host has followed.

        Another store, such as a restored one, counts once the comparison with it has ended.

        Raises:
            Error: it was.
        """
        state, self._epoch = self.state, welcome.epoch
        if welcome.store != state.store:
            return
        if 0 < welcome.epoch < state.epoch:
            raise Error(
                f"it leads by epoch {welcome.epoch} of the lease, but this host has followed epoch "
                f"{state.epoch} of the same store: it was replaced"
            )
        state.epoch = max(state.epoch, welcome.epoch)

    def _check_followed(self) -> None:
        """Raise Error unless control is followed: one that was replaced sends, too."""
        if self._channel is None:
            raise Error("this host does not follow this control")

    def _hello(self) -> Hello:
        return Hello(
            (FEED_VERSION,),
            __version__,
            self.state.store,
            len(self._digests),
            digest_of_all(self._digests),
        )

    def _lose(self, reason: str, refusing: str = "") -> None:
        """Note that control is away, and report it once; `refusing` names one that refuses."""
        self.state.reason = reason
        is_new = bool(refusing) and self._refusals.get(refusing) != reason
        if is_new:
            self._refusals[refusing] = reason
        if is_new or not self._is_lost:
            self._is_lost = True
            self._notify(
                FEED_BROKEN.message(
                    f"control is away ({reason}); guests are served on", reason=reason
                )
            )

    # What control sends.

    async def answer(self, message: SeamMessage) -> Any:  # noqa: ANN401 - of the type that the message has
        """Do what control asks, and return the result.

        Raises:
            Error: control is not followed, or would remove more than it has confirmed.
        """
        assert isinstance(message, ToFleetHost)
        self._check_followed()
        self.state.last_s = self._steady()
        match message:
            case Ping():
                return None
            case ReadDigests():
                return page(self._digests, message.after, DIGESTS_AT_ONCE)
            case Shown():
                self._note_shown(message)
                if self._unopened != {}:
                    await self._open(self._host.fleet_index.listeners)
                return self.state.refused
            case PutVms():
                return await self._put(message)
            case KeepScopes():
                if self._events:
                    self._events.keep(message.scopes)
                return None
            case NoteActivity():
                if self._events:
                    self._events.take_activity(message.scopes)
                return None
            case _:
                return await self._end.answer(message)

    def _note_shown(self, shown: Shown) -> None:
        state = self.state
        if shown.store != state.store:
            state.store, state.epoch = shown.store, self._epoch
        state.revision, state.store_age_s = shown.revision, shown.store_age_s
        if shown.store_age_s <= STALE_S:
            self._forget_departure()
        self._is_comparing = False
        if self._credentials:
            self._credentials.settle()
        self.caught_up.set()

    async def _put(self, message: PutVms) -> dict[str, str]:
        index = self._host.fleet_index
        self._end.freeze(len(message.puts))
        removes = message.removes & self._digests.keys()
        if self._is_comparing and not message.is_confirmed:
            self._check_removed(len(removes))
        vms, unread = _readable(message.puts)
        puts = {vm.name: vm for vm in message.puts if vm.name in vms}
        changed, opened = puts.keys() | removes, index.listeners
        listeners = {text: name for text, name in opened.items() if name not in changed}
        for vm in puts.values():
            listeners |= dict.fromkeys(vm.claims.listeners, vm.name)
        index.apply(IndexUpdate(puts, removes, listeners, {}, has_identities=False))
        known = self._digests.keys() & puts.keys()
        self._host.forget_tokens(
            {name for name in known if self._digests[name] != digest_of(puts[name].packed)}
        )
        for name in removes:
            del self._digests[name]
        for vm in puts.values():
            self._digests[vm.name] = digest_of(vm.packed)
        self.local_vms.leave(removes)
        self.local_vms.put(vms.values())
        if self._credentials:
            self._credentials.leave(removes)
            now_s = self._host.dispatcher.utc()
            self._credentials.put(
                vms.values(), message.secrets, message.tokens, now_s, self._digests
            )
        gone = changed | message.removes
        self._unread = {name: why for name, why in self._unread.items() if name not in gone}
        self._unread |= unread
        if listeners != opened or self._unopened is None:
            await self._open(listeners)
        self._note_refused()
        return self.state.refused

    def _check_removed(self, count: int) -> None:
        """Count the VMs that a comparison removes unconfirmed.

        Raises:
            Error: they are too many.
        """
        self._removed += count
        if self._removed > max(1, MOST_REMOVED_SHARE * self._counted):
            raise Error(f"{self._removed} of {self._counted} VMs would be removed unconfirmed")

    def _note_refused(self) -> None:
        unbound = self.local_vms.unbound()
        self.state.refused = unbound | self._unread | (self._unopened or {})

    async def _open(self, listeners: dict[str, str]) -> None:
        """Open the listeners of VMs; note those that cannot be, which are tried again later."""
        refused: dict[str, str] = {}
        wanted = dict(listeners)
        self._unopened = None
        while True:
            try:
                await self._host.want_listeners(wanted, frozenset())
            except TakenError as error:
                refused[error.name] = str(error)
                wanted = {text: name for text, name in wanted.items() if text != error.claim}
            else:
                self._unopened = refused
                self._note_refused()
                return


def _readable(packed: Sequence[PackedVm]) -> tuple[dict[str, Vm], dict[str, str]]:
    """Return the VMs that this release can read, and the reasons for the others."""
    vms: dict[str, Vm] = {}
    refused: dict[str, str] = {}
    for one in packed:
        try:
            vms[one.name] = unpack(one.packed)
        except MsgspecError as error:
            refused[one.name] = f"release {__version__} cannot read it: {error}"
    return vms, refused


def reason_of(error: Exception) -> str:
    """Return why a control cannot be followed."""
    if isinstance(error, OSError):
        return (error.strerror or str(error) or type(error).__name__).lower()
    return str(error) if isinstance(error, Error) else f"internal error: {error!r}"
