"""One server as a process: its loop, its signals, its limits."""

import asyncio
import gc
import os
import resource
import signal
from collections.abc import Callable
from contextlib import suppress

from openimds.config import Config, without_collector
from openimds.errors import ConfigError
from openimds.linux.systemd import SystemdNotifier
from openimds.server.build import build
from openimds.server.inherited_sockets import InheritedSockets
from openimds.server.server import Notify, Ready, Server

NOTHING = InheritedSockets()
SILENCE = SystemdNotifier({})


async def serve(
    config: Config,
    on_ready: Callable[[Ready], None],
    notify: Notify,
    given: InheritedSockets = NOTHING,
    notices: SystemdNotifier = SILENCE,
) -> None:
    """Serve until SIGTERM or SIGINT; SIGHUP reads the fleet file again.

    On a terminal SIGHUP means that it was closed, and ends the process as ever.

    Raises:
        ConfigError, StoreError: as `Server.start`.
    """
    _raise_file_limit()
    server = build(config, notify, given)
    stopped = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopped.set)
    tasks: set[asyncio.Task[None]] = set()

    def reload() -> None:
        tasks.add(task := asyncio.create_task(_reload(server, notices)))
        task.add_done_callback(tasks.discard)

    try:
        with without_collector():
            ready = await server.start()
        # What was loaded stays: the collector need not look at it again.
        gc.collect()
        gc.freeze()
        # From the word "ready" on, whoever heard it may ask for more.
        if not os.isatty(0):
            loop.add_signal_handler(signal.SIGHUP, reload)
        if notices.watched_s:
            tasks.add(asyncio.create_task(_live(notices)))
        on_ready(ready)
        notices.ready(f"Answers at {ready.imds}")
        await stopped.wait()
    finally:
        notices.stopping()
        await server.stop()


async def _reload(server: Server, notices: SystemdNotifier) -> None:
    notices.reloading()
    try:
        await server.reload()
    finally:
        notices.ready()


async def _live(notices: SystemdNotifier) -> None:
    """Give signs of life, twice as often as they are waited for, from the loop that answers."""
    while True:
        notices.alive()
        await asyncio.sleep(notices.watched_s / 2)


def run(
    config: Config,
    on_ready: Callable[[Ready], None],
    notify: Notify,
    given: InheritedSockets = NOTHING,
    notices: SystemdNotifier = SILENCE,
) -> None:
    """Run `serve` on the event loop that was asked for.

    Raises:
        ConfigError: uvloop was asked for and is not installed, or as `serve`.
    """
    # Files that this process makes are its owner's alone.
    os.umask(0o077)
    with asyncio.Runner(loop_factory=loop_factory(config.loop)) as runner:
        runner.run(serve(config, on_ready, notify, given, notices))


def loop_factory(name: str) -> Callable[[], asyncio.AbstractEventLoop] | None:
    """Return what makes the event loop of a setting, None for the standard one.

    Raises:
        ConfigError: uvloop was asked for and is not installed.
    """
    if name == "asyncio":
        return None
    try:
        import uvloop  # noqa: PLC0415 - an optional extra, imported where it is used
    except ImportError:
        if name == "auto":
            return None
        raise ConfigError(
            "loop", '"uvloop", which is not installed', "asyncio", "pip install openimds[fast]"
        ) from None
    return uvloop.new_event_loop


def _raise_file_limit() -> None:
    """Allow as many open files as the system lets this process have: each connection is one."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
