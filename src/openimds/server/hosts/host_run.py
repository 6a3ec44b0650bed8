"""A host of a fleet of hosts: it follows control, and serves its VMs."""

import asyncio
import random
import time
from collections.abc import Awaitable, Callable, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

from msgspec import Struct

from openimds.admin.metrics_listener import MetricsListener
from openimds.credentials.hosts.identity import HostIdentity
from openimds.credentials.hosts.join_token import JoinToken
from openimds.credentials.hosts.pod_files import PodFiles
from openimds.credentials.keys.files import new_key
from openimds.credentials.remote.kept_tokens import SHARDS
from openimds.errors import ConfigError, Error
from openimds.events.clock import Clock
from openimds.fleet.store.state import State
from openimds.log.events import JOIN_WAITS, JOINED, LOCAL_FILES_TROUBLE, RENEWAL_TROUBLE, RENEWED
from openimds.log.formats import timestamp
from openimds.protocol.pending import Approved, Failed, PendingApproval
from openimds.server.admin_ports import (
    bound_metrics,
    metrics_names,
    metrics_port_samples,
    metrics_url,
)
from openimds.server.build_followed_host import build_followed_host
from openimds.server.build_host import HostWorld
from openimds.server.file_budget import file_budget
from openimds.server.host import Host
from openimds.server.hosts.connecting import connect, control_address, join, join_by_account
from openimds.server.hosts.follower import Answer, HostFollower, reason_of
from openimds.server.hosts.follower_metrics import certificate_ends, follower_samples
from openimds.server.hosts.host_credentials import FleetCredentials
from openimds.server.hosts.local_files import FollowState, LocalFiles, read_report
from openimds.server.hosts.messages import JoinedHost, Renew
from openimds.server.inherited_sockets import InheritedSockets
from openimds.server.notify import Notify
from openimds.server.ready import Ready
from openimds.server.seam.channel import Channel, ChannelClosedError
from openimds.server.shortage_notices import ShortageNotices
from openimds.settings import Settings

if TYPE_CHECKING:  # It loads the Prometheus client, which only a scrape needs.
    from openimds.admin.metrics import Samples

_RENEW_S = 60.0
"""The time between two looks at the host's certificate."""
_KEEP_UP_S = 3.0
"""The time between two looks at tokens and leaves that are due."""
_PAUSE_S = 1.0
_REJOIN_S = 60.0
"""The time between two looks whether control refuses a pod that has joined."""
LONGEST_REJOIN_S = 600.0
"""The longest of such times, if it may not join again."""
LONGEST_PAUSE_S = 30.0
"""The longest pause between two attempts of a pod to join."""
ANSWER_S = 60.0
"""The longest wait for the answer to a renewal: nothing else certifies this host meanwhile."""
_DRAIN_S = 5.0


class HostRunSettings(Struct, frozen=True):
    """The settings that only a host of a fleet of hosts has.

    `token` is needed once, to join under the name in it. With `pod` the host joins by the service
    account of its pod whenever it has no valid certificate.
    """

    controls: tuple[str, ...]
    name: str
    token: JoinToken | None = None
    pod: PodFiles | None = None


class FleetHost:
    """A host process of a fleet of hosts."""

    def __init__(
        self,
        settings: Settings,
        own: HostRunSettings,
        notify: Notify,
        inherited: InheritedSockets,
    ) -> None:
        """Take the state folder, and make the host.

        Raises:
            ConfigError: a setting names something unusable.
            KeyFileError: the host's certificate cannot be read.
            StoreError: another process holds the state folder.
        """
        if not settings.state:
            hint = "It has the key and the certificate of this host"
            raise ConfigError("state", "nothing", "a folder of this host's own", hint)
        for control in own.controls:
            control_address(control)
        if own.token and own.token.name != own.name:
            seen = f'the join token of the host "{own.token.name}"'
            raise ConfigError("--join-token-file", seen, f'one for "{own.name}"')
        if own.token and own.pod:
            seen, expected = "a join token and a service account's", "one of both"
            raise ConfigError("--join-service-account-token", seen, expected)
        self._own, self._notify, self._settings = own, notify, settings
        self._inherited_metrics = inherited.metrics
        self._metrics: MetricsListener | None = None
        self._tasks: list[asyncio.Task[None]] = []
        self._failures: dict[str, str] = {}
        self._certifying = asyncio.Lock()
        """Held from a request to the acceptance of its answer: all requests share one next key."""
        with ExitStack() as resources:
            state = State(Path(settings.state).absolute(), settings.state_group)
            resources.callback(state.close)
            self._identity = HostIdentity.open(state.folder)
            self._check_identity()
            clock = Clock(time.time, is_virtual=settings.virtual_clock)
            loop_time = asyncio.get_running_loop().time
            self._credentials = FleetCredentials(
                state.folder,
                settings.arc_folder,
                notify,
                make_key=inherited.make_key or new_key,
                steady=loop_time,
                life_clock=(lambda: 0.0) if settings.virtual_clock else None,
            )
            world = HostWorld(
                notify=notify,
                clock=clock,
                folder=state.folder,
                inherited=inherited,
                budget=file_budget(),
                shortages=ShortageNotices(notify, loop_time),
                public_url=settings.public_url,
                fleet=self._credentials,
            )
            followed = build_followed_host(settings, world, self._approve, resources)
            self.host: Host = followed.host
            self.host.certificate_ends = self._certificate_ends
            self.follower = HostFollower(
                self.host,
                followed.end,
                own.controls,
                self._connect,
                notify,
                steady=time.monotonic,
                chance=random.random,
                credentials=self._credentials,
                events=followed.events,
            )
            self.follower.state = _state_before(state.folder, notify)
            self._files = LocalFiles(
                state.folder,
                own.name,
                self.follower,
                self._credentials.provider.documents,
                lambda: self._identity.ends_s,
                time.time,
                notify,
            )
            self._resources = resources.pop_all()

    def _check_identity(self) -> None:
        """Check that the state folder is of this host, which can join.

        Raises:
            ConfigError: the folder is of another host, or there is no join token.
        """
        name, own = self._identity.name, self._own
        if name and name != own.name:
            hint = "Give each host a state folder of its own"
            raise ConfigError("--name", f'"{own.name}"', f'"{name}", as in the state folder', hint)
        if own.token is None and own.pod is None and self._identity.has_ended(time.time()):
            seen = "nothing, and no valid certificate in the state folder"
            hint = f"Type openimds control host add {own.name} where control runs"
            raise ConfigError("--join-token-file", seen, "the file of a join token", hint)

    async def start(self) -> Ready:
        """Join where that is needed, wait for the first VMs, and open every listener.

        Raises:
            Error: control refuses this host, or a listener cannot be opened.
        """
        if self._identity.has_ended(time.time()):
            await (self._join_by_account(self._own.pod) if self._own.pod else self._join())
        self._tasks = [
            asyncio.create_task(self.follower.run()),
            asyncio.create_task(self._files.run()),
        ]
        if self._own.pod:
            self._tasks.append(asyncio.create_task(self._join_where_refused(self._own.pod)))
        # A host that knows no VM yet must not tell its guests that they are none.
        await self.follower.caught_up.wait()
        await self._files.write()  # `openimds host follow` may begin once this host is ready.
        url = await self.host.open()
        metrics = await self.open_metrics()
        self._tasks += [asyncio.create_task(self._renew()), asyncio.create_task(self._keep_up())]
        return Ready(url, None, None, None, self.host.local_callers(url), metrics)

    async def open_metrics(self) -> str | None:
        """Open the listener for metrics, if the settings ask for one; return its URL.

        Raises:
            ConfigError: it cannot be bound.
        """
        settings = self._settings
        sockets = self._inherited_metrics or bound_metrics(settings)
        if not sockets:
            return None
        self._metrics = MetricsListener(sockets, metrics_names(settings), self._samples)
        await self._metrics.open()
        return metrics_url(sockets)

    async def _samples(self) -> "Mapping[str, Samples]":
        samples = {**await self.host.samples(), **follower_samples(self.follower)}
        if self._metrics:
            samples |= metrics_port_samples(self._metrics)
        return samples

    def _certificate_ends(self) -> dict[str, float]:
        leaves_end_s = self._credentials.provider.documents.ends_s()
        return certificate_ends(self._identity.ends_s, leaves_end_s)

    async def failed(self) -> None:
        """Wait until a task ends by an internal error; a host serves on without control.

        Raises:
            Exception: the error.
        """
        done, _ = await asyncio.wait(self._tasks, return_when=asyncio.FIRST_EXCEPTION)
        for task in done:
            await task

    async def reload(self) -> None:
        """Reopen stale listeners."""
        await self.host.listeners.reopen_stale()

    async def stop(self) -> None:
        """Accept no new connection, wait for open ones, then end the rest."""
        if self._metrics:
            self._metrics.close()
        await self.host.stop_tasks()
        await self.host.drain(_DRAIN_S)
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._credentials.keep(SHARDS)
        self._resources.close()

    async def _join(self) -> None:
        """Join at the first control that answers.

        Raises:
            Error: a control refuses the join token.
        """
        token, reported = self._own.token, ""
        assert token is not None
        while True:
            for control in self._own.controls:
                try:
                    await join(control, token, self._identity)
                except (OSError, ChannelClosedError) as error:
                    reason = f"{control}: {reason_of(error)}"
                else:
                    self._notify(
                        JOINED.message(f"this host has joined as {token.name}", host=token.name)
                    )
                    return
            if reason != reported:
                self._notify(
                    JOIN_WAITS.message(
                        f"control cannot be reached ({reason}); the host joins once it can",
                        reason=reason,
                    )
                )
                reported = reason
            await asyncio.sleep(_PAUSE_S)

    async def _join_by_account(self, pod: PodFiles) -> None:
        """Join at the first control that lets this host in; never give up.

        A refusal may pass as well: the token and the fingerprints are replaced by Kubernetes, and a
        revoked host may be added again.
        """
        reported, pause_s = "", _PAUSE_S
        while reason := await self._attempt_to_join(pod):
            if reason != reported:
                sentence = f"this host has not joined yet ({reason}); it is tried again"
                self._notify(JOIN_WAITS.message(sentence, reason=reason))
                reported = reason
            await asyncio.sleep(pause_s)
            pause_s = min(2 * pause_s, LONGEST_PAUSE_S)

    async def _attempt_to_join(self, pod: PodFiles) -> str:
        """Join at the first control that allows it; return the reasons of all others.

        They are empty once this host has joined.
        """
        name, reasons, before = self._own.name, [], self._identity.serial
        async with self._certifying:
            if self._identity.serial != before:
                return ""  # Another one has got a certificate meanwhile; this would end it.
            for control in self._own.controls:
                try:
                    proof = await asyncio.to_thread(pod.read)
                    await join_by_account(control, name, proof, self._identity)
                except (OSError, Error) as error:
                    reasons.append(f"{control}: {reason_of(error)}")
                else:
                    self._notify(JOINED.message(f"this host has joined as {name}", host=name))
                    return ""
        return "; ".join(reasons)

    async def _join_where_refused(self, pod: PodFiles) -> None:
        """Join again while control refuses this host's certificate.

        So it is after a backup of control was restored, or its root was lost.
        """
        pause_s = _REJOIN_S
        while True:
            await asyncio.sleep(pause_s)
            if not self.follower.is_refused:
                pause_s = _REJOIN_S
                continue
            pause_s = min(2 * pause_s, LONGEST_REJOIN_S)
            if not await self._attempt_to_join(pod):  # The follower reports the reason.
                self.follower.forget_refusals()

    async def _renew(self) -> None:
        """Renew the host's certificate from its half-life on."""
        while True:
            await asyncio.sleep(_RENEW_S)
            if self._own.pod and self._identity.has_ended(time.time()):
                await self._join_by_account(self._own.pod)  # It was away for long.
            elif self._identity.is_due(time.time()):
                await self._attempt("the certificate of this host is not renewed", self._certify)

    async def _certify(self) -> None:
        before = self._identity.serial
        async with self._certifying:
            if self._identity.serial != before:
                return
            csr = await asyncio.to_thread(self._identity.request)
            try:
                async with asyncio.timeout(ANSWER_S):
                    joined: JoinedHost = await self.follower.ask(Renew(csr))
            except TimeoutError:
                raise Error(f"control gives no answer within {ANSWER_S:g} s") from None
            answer = (self._own.name, joined.certificate, joined.roots, time.time())
            await asyncio.to_thread(self._identity.accept, *answer)
        self._notify(
            RENEWED.message(
                "the certificate of this host is renewed",
                host=self._own.name,
                ends=timestamp(self._identity.ends_s),
            )
        )

    async def _keep_up(self) -> None:
        """Renew tokens and leaves ahead of need."""
        while True:
            await self._attempt("tokens and leaves are not renewed", self._renew_credentials)
            await asyncio.sleep(_KEEP_UP_S)

    async def _renew_credentials(self) -> None:
        self.follower.note_activity()
        await self._credentials.keep()
        await self._credentials.provider.keep_up(self.host.dispatcher.utc())

    async def _attempt(self, failure: str, work: Callable[[], Awaitable[None]]) -> None:
        """Do work that the next round does again; report each new reason of a failure."""
        try:
            await work()
        except ChannelClosedError:
            pass  # The follower reports it.
        except Exception as error:  # noqa: BLE001 - the rounds go on, also after an internal error
            if self._failures.get(failure) != str(error):
                self._notify(RENEWAL_TROUBLE.message(f"{failure}: {error}", reason=str(error)))
            self._failures[failure] = str(error)
        else:
            self._failures.pop(failure, None)

    async def _approve(self, need: PendingApproval) -> Approved | Failed:
        return await self.follower.approve(need)

    async def _connect(self, control: str, answer: Answer) -> Channel:
        return await connect(control, self._identity.context(), answer)


def _state_before(folder: Path, notify: Notify) -> FollowState:
    """Return the state at the last end: no control may lead back behind it."""
    try:
        report = read_report(folder)
    except ConfigError as error:
        notify(LOCAL_FILES_TROUBLE.message(str(error)))
        report = None
    return report.state() if report else FollowState()
