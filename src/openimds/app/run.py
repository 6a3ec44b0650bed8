"""One server as a process: its loop, its signals, its limits."""

import asyncio
import gc
import os
import resource
import signal
from collections.abc import Callable
from contextlib import suppress

from openimds.app.given import Given
from openimds.app.server import Ready, Server, Tell
from openimds.config import Config, without_collector
from openimds.errors import ConfigError

NOTHING = Given()


async def serve(
    config: Config, on_ready: Callable[[Ready], None], tell: Tell, given: Given = NOTHING
) -> None:
    """Serve until SIGTERM or SIGINT; SIGHUP reads the fleet file again.

    On a terminal SIGHUP means that it was closed, and ends the process as ever.

    Raises:
        ConfigError, StoreError: as `Server.start`.
    """
    _raise_file_limit()
    server = Server(config, tell, given)
    stopped = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopped.set)
    reloads: set[asyncio.Task[None]] = set()

    def reload() -> None:
        reloads.add(task := asyncio.create_task(server.reload()))
        task.add_done_callback(reloads.discard)

    try:
        with without_collector():
            ready = await server.start()
        # What was loaded stays: the collector need not look at it again.
        gc.collect()
        gc.freeze()
        on_ready(ready)
        if not os.isatty(0):
            loop.add_signal_handler(signal.SIGHUP, reload)
        await stopped.wait()
    finally:
        await server.stop()


def run(
    config: Config, on_ready: Callable[[Ready], None], tell: Tell, given: Given = NOTHING
) -> None:
    """Run `serve` on the event loop that was asked for.

    Raises:
        ConfigError: uvloop was asked for and is not installed, or as `serve`.
    """
    # Files that this process makes are its owner's alone.
    os.umask(0o077)
    with asyncio.Runner(loop_factory=loop_factory(config.loop)) as runner:
        runner.run(serve(config, on_ready, tell, given))


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
