"""One server as a process: its event loop, its signals, its limits."""

import asyncio
import gc
import os
import signal
from collections.abc import Callable, Coroutine
from typing import Any, Protocol

from openimds.dataplane.event_loop import ServingLoop
from openimds.fleet.fleet_files import gc_paused
from openimds.linux.systemd import SystemdNotifier
from openimds.server.file_budget import raise_limit
from openimds.server.inherited_sockets import InheritedSockets
from openimds.server.notify import Notify
from openimds.server.ready import Ready
from openimds.server.settings_check import check, check_pki_names
from openimds.server.startup import Startup
from openimds.settings import Settings

NO_SOCKETS = InheritedSockets()
_STOPPING = ("SIGTERM", "SIGINT", "SIGBREAK")
NO_SYSTEMD = SystemdNotifier({})


class Service(Protocol):
    """A server of either kind: both roles in this process, or control in another."""

    async def start(self) -> Ready:
        """Load the fleet, and open every listener."""
        ...

    async def reload(self) -> None:
        """Apply the fleet file, reopen stale listeners, and try quarantined VMs again."""
        ...

    async def stop(self) -> None:
        """Accept no new connection, wait for open ones, then cut those that remain."""
        ...


Make = Callable[[], Service]
"""Makes a server inside the event loop that will serve."""


async def serve(
    make: Make,
    on_ready: Callable[[Ready], None],
    notify: Notify,
    max_connections: int,
    systemd: SystemdNotifier = NO_SYSTEMD,
) -> None:
    """Serve until SIGTERM or SIGINT; SIGHUP reloads the fleet file.

    On a terminal SIGHUP means that it was closed, and ends the process as by default. Without
    `max_connections` no notice is given of a low limit of open files.

    Raises:
        ConfigError, StoreError: as `build` and `Server.start`.
    """
    notice = raise_limit(max_connections)
    server = make()
    if notice and max_connections:
        notify(notice)
    stopped = asyncio.Event()
    for name in _STOPPING:
        if hasattr(signal, name):
            _on_signal(getattr(signal, name), stopped.set)
    tasks: set[asyncio.Task[None]] = set()

    def reload() -> None:
        tasks.add(task := asyncio.create_task(_reload(server, systemd)))
        task.add_done_callback(tasks.discard)

    try:
        with gc_paused():
            ready = await _unless(stopped, server.start())
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
        on_ready(ready)
        systemd.ready(f"Answers at {ready.imds}")
        await stopped.wait()
    finally:
        systemd.stopping()
        await server.stop()


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
    _run(lambda: build(startup, notify, inherited), on_ready, notify, most, systemd)


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
    )


def _run(
    make: Make,
    on_ready: Callable[[Ready], None],
    notify: Notify,
    max_connections: int,
    systemd: SystemdNotifier,
) -> None:
    # Only the owner may read files that this process makes.
    os.umask(0o077)
    with asyncio.Runner(loop_factory=ServingLoop) as runner:
        runner.run(serve(make, on_ready, notify, max_connections, systemd))


async def _unless(stopped: asyncio.Event, start: Coroutine[Any, Any, Ready]) -> Ready | None:
    """Await a start; return None if the server is stopped meanwhile.

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


async def _reload(server: Service, systemd: SystemdNotifier) -> None:
    systemd.reloading()
    try:
        await server.reload()
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
