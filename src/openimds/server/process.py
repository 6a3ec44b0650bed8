"""One server as a process: its event loop, its signals, its limits."""

import asyncio
import gc
import os
import signal
import sys
from collections.abc import Callable, Coroutine
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from openimds.dataplane.event_loop import ServingLoop
from openimds.errors import Error, kind_and_place
from openimds.fleet.fleet_files import gc_paused
from openimds.linux.freed_memory import keep_large_blocks_apart
from openimds.linux.systemd import SystemdNotifier
from openimds.log.event import LogMessage
from openimds.log.events import (
    FAILED,
    FLEET_REJECTED,
    INTERNAL_ERROR,
    READY,
    RELOADING,
    SETTING,
    STOPPED,
    STOPPING,
)
from openimds.server.file_budget import raise_limit
from openimds.server.inherited_sockets import InheritedSockets
from openimds.server.notify import Notify
from openimds.server.operator_log import starting
from openimds.server.ready import Ready
from openimds.server.settings_check import check, check_pki_names
from openimds.server.startup import Startup
from openimds.settings import Settings

if TYPE_CHECKING:
    from openimds.server.hosts.control_run import ControlSettings
    from openimds.server.hosts.host_run import HostRunSettings

NO_SOCKETS = InheritedSockets()
T = TypeVar("T")
_STOPPING = ("SIGTERM", "SIGINT", "SIGBREAK")
NO_SYSTEMD = SystemdNotifier({})
_SWITCH_S = 0.0002
"""The longest wait of the event loop for a thread that computes; CPython's own is 5 ms.

A thread counts the findings in recorded requests, for instance, while guests wait for the loop.
"""
_SLOW_S = 3.0
"""A start that takes longer is announced before it is done."""


class Service(Protocol):
    """A server of either kind: both roles in this process, or control in another."""

    async def start(self) -> Ready:
        """Load the fleet, and open every listener."""
        ...

    async def failed(self) -> None:
        """Wait until it cannot go on, and raise the reason."""
        ...

    async def reload(self) -> None:
        """Apply the fleet file, reopen stale listeners, and try quarantined VMs again."""
        ...

    async def stop(self) -> None:
        """Accept no new connection, wait for open ones, then cut those that remain."""
        ...


OnReady = Callable[[Ready], None]
Make = Callable[[], Service]
"""Makes a server inside the event loop that will serve."""


async def serve(  # noqa: PLR0913, PLR0917 - a server, and the world of its process
    make: Make,
    on_ready: Callable[[Ready], None],
    notify: Notify,
    max_connections: int,
    systemd: SystemdNotifier = NO_SYSTEMD,
    start: LogMessage | None = None,
) -> None:
    """Serve until SIGTERM or SIGINT; SIGHUP reloads the fleet file.

    On a terminal SIGHUP means that it was closed, and ends the process as by default. Without
    `max_connections` no notice is given of a low limit of open files. `start` is logged once the
    server has started, or is slow to: a start that fails at once prints its reason alone.

    Raises:
        ConfigError, StoreError: as `build` and `Server.start`.
    """
    notice = raise_limit(max_connections)
    server = make()
    if notice and max_connections:
        notify(SETTING.message(notice))
    stopped, reasons = _stop_signals()
    tasks: set[asyncio.Task[None]] = set()
    opening = _Opening(start, notify)

    def reload() -> None:
        notify(RELOADING.message("SIGHUP: the fleet file is read again"))
        tasks.add(task := asyncio.create_task(_reload(server, systemd, notify)))
        task.add_done_callback(tasks.discard)

    try:
        with gc_paused():
            ready = await _unless(stopped, server.start())
        opening.end()
        if ready is None:
            return
        # The loaded fleet stays: the collector need not look at it again.
        gc.collect()
        gc.freeze()
        # Installed before "ready" is printed: its reader may send SIGHUP at once.
        if hasattr(signal, "SIGHUP") and not os.isatty(0):
            _on_signal(signal.SIGHUP, reload)
        if systemd.watched_s:
            tasks.add(asyncio.create_task(_keep_watchdog(systemd)))
        notify(_ready_message(ready))
        on_ready(ready)
        systemd.ready(f"Answers at {ready.imds or ready.admin}")
        await _unless(stopped, server.failed())
    except Exception as error:
        if opening.is_over:  # Else its reason is printed alone.
            notify(FAILED.message(str(error), reason=str(error)))
        raise
    finally:
        opening.cancel()
        systemd.stopping()
        if opening.is_over:
            reason = reasons[0] if reasons else "a failure"
            notify(STOPPING.message(f"stopping: {reason}", reason=reason))
        await server.stop()
        if opening.is_over:
            notify(STOPPED.message("stopped"))


class _Opening:
    """Logs the message of a start once it has succeeded, or takes long."""

    def __init__(self, start: LogMessage | None, notify: Notify) -> None:
        self._start, self._notify = start, notify
        self.is_over = False
        self._timer = asyncio.get_running_loop().call_later(_SLOW_S, self.end)

    def end(self) -> None:
        """Log the message, unless that is done."""
        self.cancel()
        if not self.is_over:
            self.is_over = True
            if self._start is not None:
                self._notify(self._start)

    def cancel(self) -> None:
        """Log nothing later on."""
        self._timer.cancel()


def _stop_signals() -> tuple[asyncio.Event, list[str]]:
    """Return an event that signals to stop set, and their names as they come."""
    stopped, names = asyncio.Event(), list[str]()

    def stop(name: str) -> None:
        names.append(name)
        stopped.set()

    for name in _STOPPING:
        if hasattr(signal, name):
            _on_signal(getattr(signal, name), partial(stop, name))
    return stopped, names


def _ready_message(ready: Ready) -> LogMessage:
    fields = {"imds": ready.imds, "admin": ready.admin, "public": ready.public}
    present = {name: url for name, url in fields.items() if url}
    return READY.message(f"answers at {ready.imds or ready.admin}", **present)


def run(
    startup: Startup,
    on_ready: Callable[[Ready], None],
    notify: Notify,
    inherited: InheritedSockets = NO_SOCKETS,
    systemd: SystemdNotifier = NO_SYSTEMD,
) -> None:
    """Run a server in this process alone, on an event loop of its own.

    Raises:
        ConfigError: as `serve`.
    """
    from openimds.server.build import build  # noqa: PLC0415 - a host loads while control does

    # A command in a sandbox needs few connections.
    most = 0 if inherited.is_exclusive else startup.settings.max_connections
    start = starting("serve", startup.settings)
    _run(lambda: build(startup, notify, inherited), on_ready, notify, most, systemd, start)


def run_host(
    settings: Settings,
    on_ready: Callable[[Ready], None],
    notify: Notify,
    inherited: InheritedSockets = NO_SOCKETS,
    systemd: SystemdNotifier = NO_SYSTEMD,
) -> None:
    """Run the host in this process, and control in a child.

    Raises:
        ConfigError: as `serve`.
    """
    from openimds.server.host_process import HostProcess  # noqa: PLC0415 - exec needs none

    check(settings)
    check_pki_names(settings, is_in_sandbox=False)
    _run(
        lambda: HostProcess(settings, notify, inherited),
        on_ready,
        notify,
        settings.max_connections,
        systemd,
        starting("serve", settings),
    )


def run_fleet_control(  # noqa: PLR0913, PLR0917 - as `run_host`, and a control's own settings
    settings: Settings,
    own: "ControlSettings",
    store: tuple[str, str],
    on_ready: OnReady,
    notify: Notify,
    systemd: SystemdNotifier = NO_SYSTEMD,
) -> None:
    """Run a control of many hosts.

    `store` is a URL, and the file of a password or nothing.

    Raises:
        ConfigError: as `serve`.
        Error: another control has taken the lead.
    """
    from openimds.fleet.store.postgres.location import (  # noqa: PLC0415 - as above
        require_driver,
    )

    require_driver()
    from openimds.server.hosts.control_run import FleetControl  # noqa: PLC0415 - as above
    from openimds.server.hosts.engine import PostgresEngine  # noqa: PLC0415 - psycopg is an extra

    check(settings)
    engine = PostgresEngine(*store)
    own_settings = (("store", store[0]), ("hosts", own.hosts), ("url", own.url))
    start = starting("control run", settings, own_settings)
    _run(lambda: FleetControl(settings, own, engine, notify), on_ready, notify, 0, systemd, start)


def run_fleet_host(  # noqa: PLR0913, PLR0917 - as `run_host`, and a host's own settings
    settings: Settings,
    own: "HostRunSettings",
    on_ready: OnReady,
    notify: Notify,
    inherited: InheritedSockets = NO_SOCKETS,
    systemd: SystemdNotifier = NO_SYSTEMD,
) -> None:
    """Run a host of a fleet of hosts.

    Raises:
        ConfigError: as `serve`.
        Error: control refuses this host.
    """
    from openimds.server.hosts.host_run import FleetHost  # noqa: PLC0415 - as above

    check(settings)
    _run(
        lambda: FleetHost(settings, own, notify, inherited),
        on_ready,
        notify,
        settings.max_connections,
        systemd,
        starting("host run", settings, (("name", own.name), ("control", ",".join(own.controls)))),
    )


def _run(  # noqa: PLR0913, PLR0917 - as `serve`
    make: Make,
    on_ready: Callable[[Ready], None],
    notify: Notify,
    max_connections: int,
    systemd: SystemdNotifier,
    start: LogMessage,
) -> None:
    # Only the owner may read files that this process makes.
    os.umask(0o077)
    keep_large_blocks_apart()
    sys.setswitchinterval(_SWITCH_S)
    with asyncio.Runner(loop_factory=ServingLoop) as runner:
        runner.run(serve(make, on_ready, notify, max_connections, systemd, start))


async def _unless(stopped: asyncio.Event, start: Coroutine[Any, Any, T]) -> T | None:
    """Await a start, or a failure; return None if the server is stopped meanwhile.

    A start that waits for a disk that hangs never ends.
    """
    starting, stopping = asyncio.create_task(start), asyncio.create_task(stopped.wait())
    try:
        await asyncio.wait((starting, stopping), return_when=asyncio.FIRST_COMPLETED)
        return await starting if starting.done() else None
    finally:
        for task in (starting, stopping):
            task.cancel()
        await asyncio.gather(starting, stopping, return_exceptions=True)


async def _reload(server: Service, systemd: SystemdNotifier, notify: Notify) -> None:
    systemd.reloading()
    try:
        await server.reload()
    except Error as error:
        notify(FLEET_REJECTED.message(f"the reload failed: {error}", reason=str(error)))
    except Exception as error:  # noqa: BLE001 - nothing awaits this task
        notify(
            INTERNAL_ERROR.message(
                f"internal error in a reload: {kind_and_place(error)}. Please report it",
                error=type(error).__name__,
            )
        )
    finally:
        systemd.ready()


async def _keep_watchdog(systemd: SystemdNotifier) -> None:
    """Notify systemd's watchdog twice per interval, from the loop that serves."""
    while True:
        systemd.alive()
        await asyncio.sleep(systemd.watched_s / 2)


def _on_signal(number: int, react: Callable[[], object]) -> None:
    """React to a signal on the running loop, also on Windows."""
    loop = asyncio.get_running_loop()
    try:
        loop.add_signal_handler(number, react)
    except NotImplementedError:  # Windows: the loop wakes up within a second.
        signal.signal(number, lambda *_: loop.call_soon_threadsafe(react))
