"""The shared parts of all tests: a port, a thread with an event loop, keys."""

import asyncio
import socket
import time
from collections.abc import Callable, Coroutine, Iterator
from contextlib import ExitStack, contextmanager
from tempfile import TemporaryDirectory
from threading import Event, Thread
from typing import Any, TypeVar

from openimds.credentials.keys.pool import KeyPool
from openimds.server.build import build
from openimds.server.inherited_sockets import InheritedSockets
from openimds.server.server import Ready, Server
from openimds.server.startup import Startup, with_settings

T = TypeVar("T")

_HTTP = 80


class ReservedPort:
    """A TCP port that stays this session's while no server listens on it.

    Clients read its number once, often at import, so it has to last; without a server they have to
    be refused at once. So it is bound without listening: no other process gets the port, and a
    second socket with SO_REUSEADDR may listen on it.
    """

    def __init__(self, host: str = "127.0.0.1", number: int = 0) -> None:
        """Bind a port; 0 is any free one.

        Raises:
            OSError: the port is in use.
        """
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        try:
            # Both sockets need the option; asyncio sets it on its own.
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            self._socket.bind((host, number))
        except OSError:
            self._socket.close()
            raise
        self._name: tuple[str, int] = self._socket.getsockname()

    @property
    def url(self) -> str:
        """The URL of a server on the port."""
        host, number = self._name
        return f"http://{host}" if number == _HTTP else f"http://{host}:{number}"

    @property
    def address(self) -> str:
        """The setting `listen` of a server on the port."""
        return "{}:{}".format(*self._name)

    def close(self) -> None:
        """Release the port."""
        self._socket.close()


class _Loop(asyncio.SelectorEventLoop):
    """The standard loop with a clock that a patched `time` does not stop."""

    def time(self) -> float:
        """Return the monotonic clock of the system."""
        return time.clock_gettime(time.CLOCK_MONOTONIC)


class ServerThread:
    """A thread with an event loop, for one server after another at one port.

    It uses the standard loop, which is safe in a process that may fork or load any library.
    """

    def __init__(self, port: ReservedPort) -> None:
        """Start the thread."""
        self.port = port
        self._pool = KeyPool()
        self._has_begun = Event()
        # A daemon, so that it does not delay the end of a process that dies during a test.
        self._thread = Thread(target=self._run, name="imds", daemon=True)
        self._thread.start()
        self._has_begun.wait()

    def _run(self) -> None:
        with asyncio.Runner(loop_factory=_Loop) as runner:
            runner.run(self._wait())

    async def _wait(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._end = asyncio.Event()
        self._has_begun.set()
        await self._end.wait()

    def do(self, job: Coroutine[Any, Any, T]) -> T:
        """Run a job on the loop; return its result, or raise its exception."""
        __tracebackhide__ = True
        return asyncio.run_coroutine_threadsafe(job, self._loop).result()

    @contextmanager
    def serving(
        self, startup: Startup, notify: Callable[[str], None]
    ) -> Iterator[tuple[Server, Ready]]:
        """Run a server on the port until the block ends; only keys are shared.

        Raises:
            ConfigError, StoreError: as `Server` and `Server.start`.
        """
        with ExitStack() as after:
            if startup.settings.admin != "none" and not startup.settings.state:
                # The token file must not go into the user's own state folder.
                folder = after.enter_context(TemporaryDirectory(prefix="imds-"))
                startup = with_settings(startup, state=folder)
            server, ready = self.do(self._open(startup, notify))
            try:
                yield server, ready
            finally:
                self.do(server.stop(patience_s=0))

    async def _open(self, startup: Startup, notify: Callable[[str], None]) -> tuple[Server, Ready]:
        at_port = with_settings(startup, listen=self.port.address)
        server = build(at_port, notify, InheritedSockets(make_key=self._pool.supply()))
        try:
            return server, await server.start()
        except BaseException:
            await server.stop(patience_s=0)
            raise

    def close(self) -> None:
        """End the thread."""
        self._loop.call_soon_threadsafe(self._end.set)
        self._thread.join()
