"""The host role: data plane, index, and the keys that sign for guests."""

import asyncio
from asyncio import Task
from collections.abc import Callable, Mapping
from collections.abc import Set as AbstractSet
from contextlib import suppress
from math import inf
from typing import TYPE_CHECKING, Any

from msgspec import Struct, field

from openimds.credentials.entra.client import EntraClient, UnconfiguredEntra
from openimds.credentials.service import CredentialsService
from openimds.credentials.tokens.caller_secrets import CallerSecrets
from openimds.dataplane.dispatcher import Dispatcher
from openimds.dataplane.listeners import is_guarded
from openimds.dataplane.recording.recorder import Recorder
from openimds.errors import Error
from openimds.events.clock import Clock
from openimds.facts.protocols import TOKEN_ROUTES
from openimds.faults import FaultInjector
from openimds.fleet.index import FleetIndex
from openimds.log.events import CLOCK_STEPPED, CREDENTIALS_TROUBLE, LISTENER_TROUBLE
from openimds.protocol.dialect import in_dialect
from openimds.protocol.handle import Subject, handle, resume
from openimds.protocol.identity_dialects import variables
from openimds.protocol.request import parse_query
from openimds.protocol.response import Refusal, Response
from openimds.server.clock_watch import ClockWatch, step_notice
from openimds.server.listener_faults import ListenerFaults
from openimds.server.listener_set import ListenerSet
from openimds.server.local_callers import local_callers
from openimds.server.metrics_source import HostMetrics, SigningParts
from openimds.server.notify import Notify
from openimds.server.operator_log import log_samples
from openimds.server.pending_dispatch import PendingDispatch
from openimds.server.process_metrics import BOTH, build_samples, process_samples
from openimds.server.ready import LocalCaller
from openimds.server.shortage_notices import ShortageNotices
from openimds.vm.identities import principals
from openimds.vm.types import Vm

if TYPE_CHECKING:  # They load cryptography, or the Prometheus client.
    from openimds.admin.metrics import Samples
    from openimds.credentials.remote.given_secrets import GivenSecrets
    from openimds.credentials.remote.host_credentials import HostCredentials

_SWEEP_S = 1.0
_CERTIFICATES_S = 60.0
"""The time between two looks for certificates and lists that are due."""
_DRAIN_POLL_S = 0.01


class Host(Struct, kw_only=True, eq=False):
    """The parts that serve guests, inside a running event loop."""

    notify: Notify
    clock: Clock
    caller_secrets: "CallerSecrets | GivenSecrets"
    credentials: CredentialsService
    entra: EntraClient | UnconfiguredEntra
    pending: PendingDispatch
    dispatcher: Dispatcher
    recorder: Recorder
    injector: FaultInjector
    listeners: ListenerSet
    listener_faults: ListenerFaults
    shortages: ShortageNotices
    clock_watch: ClockWatch
    forgets_tokens: bool
    fleet: "HostCredentials | None" = None
    """The credentials of a host of a fleet of hosts."""
    loop_lag_s: float = 0.0
    control_restarts: int = 0
    role: str = BOTH
    """The role of this process in its metrics."""
    certificate_ends: Callable[[], Mapping[str, float]] | None = None
    """The ends of certificates that others made for this host; None if it makes its own."""
    _tasks: list[Task[None]] = field(default_factory=list)

    @property
    def fleet_index(self) -> FleetIndex[Any]:
        """The VMs that guests are."""
        return self.dispatcher.fleet_index

    @property
    def metrics(self) -> HostMetrics:
        """The values that the host counts."""
        return HostMetrics(
            self.dispatcher,
            self.recorder,
            self.injector.played,
            lambda: self.loop_lag_s,
            lambda: self.shortages.pauses,
            lambda: self.listeners.failures + self.listener_faults.failures,
            self.credentials.ca.replaced,
            self.clock_watch.steps,
            lambda: self.control_restarts,
            SigningParts(
                self.fleet.worker if self.fleet else self.credentials.worker,
                self.certificate_ends or self.credentials.ca.ends,
                self.credentials.key_ends,
            ),
        )

    async def samples(self) -> "dict[str, Samples]":
        """Return the values of this process by the name of the metric."""
        samples = {
            **self.metrics.samples(),
            **build_samples(),
            **log_samples(self.notify, self.role),
        }
        with suppress(RuntimeError):  # Without a thread at the moment the rest is there.
            samples |= await asyncio.to_thread(process_samples, self.role)
        return samples

    async def open(self) -> str:
        """Open every listener, and return the URL of the first.

        Raises:
            ConfigError: a listener cannot be opened.
        """
        first = await self.listeners.open()
        self.listener_faults.apply()
        self._report_unreached()
        self.run(self._sweep())
        self.run(self._keep_up_certificates())
        return first.url

    def _report_unreached(self) -> None:
        """Report listeners that wait for host rules, which no VM of the fleet can have."""
        waiting = [
            listener.url
            for listener in self.listeners.all
            if any(map(is_guarded, listener.sockets))
        ]
        entries = self.dispatcher.fleet_index.by_name.values()
        if waiting and not any(entry.vm.reach.interface for entry in entries):
            self.notify(
                LISTENER_TROUBLE.message(
                    f"nobody reaches {waiting[0]}: its address is on no interface, and no VM has "
                    "an "
                    "interface for openimds host up. Type ip address add 169.254.169.254/32 dev lo "
                    "before the server, or write reach.interface"
                )
            )

    def run(self, work: Any) -> None:  # noqa: ANN401 - any coroutine
        """Run a coroutine until the host closes."""
        self._tasks.append(asyncio.create_task(work))

    # Changes of what guests are served.

    async def want_listeners(self, wanted: dict[str, str], keep: AbstractSet[str]) -> None:
        """Open the missing listeners of single VMs; close those neither wanted nor kept.

        Raises:
            TakenError: a listener cannot be opened.
        """
        await self.listeners.update(wanted, keep)
        self.listener_faults.apply()

    def forget_tokens(self, names: AbstractSet[str]) -> None:
        """Forget the tokens of changed VMs, where the settings ask for it."""
        if self.forgets_tokens:
            (self.fleet or self.credentials.tokens).forget(names)

    async def take_faults(self) -> None:
        """Close, filter or reopen listeners to match the active faults before returning."""
        wanted = self.injector if self.injector.concerns_guests else None
        if self.dispatcher.faults is not wanted:
            self.dispatcher.set_faults(wanted)
        self.listener_faults.apply()
        await self.listener_faults.settle()

    async def take_clock(self) -> None:
        """Drop responses of the old time; faults, certificates and lists follow the new one."""
        self.fleet_index.clear_responses()
        await self.take_faults()
        await self.keep_up()

    async def take_clock_step(self, step_s: float) -> None:
        """Drop what a step of the wall clock has made wrong, and report it."""
        self.notify(CLOCK_STEPPED.message(step_notice(step_s), seconds=round(step_s)))
        (self.fleet or self.credentials).forget_future(self.dispatcher.utc())
        await self.take_clock()

    async def stop_tasks(self) -> None:
        """Cancel what runs beside the requests."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self.listener_faults.close()
        self.recorder.end_feeds()

    async def drain(self, patience_s: float) -> None:
        """Accept no new connection, wait for open ones, then cut those that remain."""
        self.listeners.close()
        connections, now = self.dispatcher.connections, self.dispatcher.now
        connections.drain()
        deadline_s = now() + patience_s
        while len(connections) and now() < deadline_s:
            connections.sweep(now())
            await asyncio.sleep(_DRAIN_POLL_S)
        for _ in ("send the last response", "abort"):
            connections.sweep(inf)

    def note_entra(self) -> None:
        """Report nothing about Entra: the operator knows that no credential is set."""
        if isinstance(self.entra, UnconfiguredEntra):
            self.entra.is_known()

    def warm(self) -> None:
        """Make the first key of tokens before a request needs it."""
        self.run(self.credentials.warm(self.dispatcher.utc()))

    def local_callers(self, url: str) -> tuple[LocalCaller, ...]:
        """Return ways to be one of the first VMs at the shared listener's URL."""
        return local_callers(self.fleet_index, self.listeners, url)

    def identity_variables(self, vm: Vm, url: str = "") -> dict[str, dict[str, str]]:
        """Return the variables of each token route for clients on a VM.

        `url` is the address by which clients reach the VM's listener, by default its own; without
        any there are no variables.
        """
        urls = [url] if url else self.listeners.urls(vm.reach.listen)
        url = next((url for url in urls if url.startswith("http")), "")
        secret, extras = self.caller_secrets.of(vm.name), {"", *self.dispatcher.extras}
        client_id = next((principal.client_id for principal in principals(vm)), "")
        routes = [row.key for row in TOKEN_ROUTES.values() if row.setting in extras]
        return {key: variables(key, url, secret, client_id) for key in routes} if url else {}

    async def get_as(self, vm: Vm, target: str) -> Response | Refusal:
        """Answer a GET as the VM is answered, without limits, faults or a record.

        Raises:
            Error: a key cannot be read or written.
        """
        dispatcher = self.dispatcher
        query = parse_query(
            "GET", target.encode(), has_metadata_header=True, extras=dispatcher.extras
        )
        query = in_dialect(query, vm)
        subject = Subject(vm, dispatcher.fleet_index.catalog)
        outcome = handle(query, subject, dispatcher.utc())
        if isinstance(outcome, Response | Refusal):
            return outcome
        result = dispatcher.provider.cached(outcome, dispatcher.utc())
        if result is None:
            result = await dispatcher.provider.make(outcome, dispatcher.utc())
        return resume(query, outcome, result, dispatcher.utc())

    async def _keep_up_certificates(self) -> None:
        """Renew what ends, take a rehearsal's steps, and sign lists ahead of requests."""
        while True:
            await asyncio.sleep(_CERTIFICATES_S)
            await self.keep_up()

    async def keep_up(self) -> None:
        """Renew the keys and certificates that end, and sign the lists that are due."""
        try:
            await asyncio.to_thread(self.credentials.keep_up, self.dispatcher.utc())
        except Error as error:  # The next turn tries again.
            self.notify(CREDENTIALS_TROUBLE.message(str(error)))

    async def _sweep(self) -> None:
        """Close overdue connections once a second, and measure how late the loop is."""
        while True:
            due_s = self.dispatcher.now() + _SWEEP_S
            await asyncio.sleep(_SWEEP_S)
            self.loop_lag_s = max(0.0, self.dispatcher.now() - due_s)
            self.dispatcher.connections.sweep(self.dispatcher.now())
            if step_s := self.clock_watch.look():
                self.run(self.take_clock_step(step_s))
