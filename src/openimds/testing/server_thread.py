"""What the tests of a session share: a port, a thread with an event loop, keys."""

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
    """A TCP port that is this session's, whether or not anybody listens there.

    Clients read its number once, often when they are imported, so it has to last; and where no
    server is, they shall be refused at once. So it is bound without listening: the kernel gives it
    to nobody else, and a second socket may listen there that says it knows (SO_REUSEADDR).
    """

    def __init__(self, host: str = "127.0.0.1", number: int = 0) -> None:
        """Take a port; 0 is any free one.

        Raises:
            OSError: it cannot be had.
        """
        self._kept = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        try:
            # The second socket has to say so too, and asyncio's do.
            self._kept.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            self._kept.bind((host, number))
        except OSError:
            self._kept.close()
            raise
        self._name: tuple[str, int] = self._kept.getsockname()

    @property
    def url(self) -> str:
        """Where a server on it answers."""
        host, number = self._name
        return f"http://{host}" if number == _HTTP else f"http://{host}:{number}"

    @property
    def address(self) -> str:
        """The setting `listen` of a server on it."""
        return "{}:{}".format(*self._name)

    def close(self) -> None:
        """Give it back."""
        self._kept.close()


class _Loop(asyncio.SelectorEventLoop):
    """The standard loop, whose clock goes on where a test has stopped that of Python."""

    def time(self) -> float:
        """Return what time.monotonic would, as long as nobody has put something else there."""
        return time.clock_gettime(time.CLOCK_MONOTONIC)


class ServerThread:
    """A thread with an event loop, on which one server after another answers at a port.

    The standard loop serves: the thread is a guest in a process that may fork or load anything.
    """

    def __init__(self, port: ReservedPort) -> None:
        """Start the thread."""
        self.port = port
        self._pool = KeyPool()
        self._has_begun = Event()
        # A daemon, so that a process that dies in the middle of a test is not held up by it.
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
        """Return what a job on the loop returns, or raise what it raises."""
        __tracebackhide__ = True
        return asyncio.run_coroutine_threadsafe(job, self._loop).result()

    @contextmanager
    def serving(
        self, startup: Startup, notify: Callable[[str], None]
    ) -> Iterator[tuple[Server, Ready]]:
        """Have a server on the port, with nothing of the one before it but keys.

        Raises:
            ConfigError, StoreError: as `Server` and `Server.start`.
        """
        with ExitStack() as after:
            if startup.settings.admin != "none" and not startup.settings.state:
                # Its token is a file, and the user's own folder is not ours.
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
