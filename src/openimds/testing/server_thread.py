"""A thread with an event loop, a port, and one server after another on them."""

import asyncio
import os
import socket
import sys
import time
from collections.abc import Callable, Coroutine
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Event, Lock, Thread
from typing import Any, TypeVar

from msgspec import structs

from openimds.admin.token import AdminToken
from openimds.credentials.keys.pool import KeyPool
from openimds.dataplane.event_loop import ServingLoop
from openimds.errors import Error
from openimds.fleet.store.state import TOKEN_NAME
from openimds.log.event import sentences_only
from openimds.server.build import build
from openimds.server.inherited_sockets import InheritedSockets
from openimds.server.ready import Ready
from openimds.server.server import Server
from openimds.server.startup import Startup, with_settings
from openimds.testing.azure_pki import AzurePki
from openimds.testing.options import AZURE

T = TypeVar("T")

_HTTP = 80
_CAN_HOLD = sys.platform == "linux"
"""Whether a socket may listen on a port that another one holds without listening."""
_CLOSED = "the server is closed: it ended with its test, its block or close()"
_IN_PARENT = "the server runs in the parent process; start one after the fork"
_free_pools: list[KeyPool] = []
"""Keys of ended threads. Servers that run at the same time never share one."""


class ServerClosedError(Error):
    """A call of a server that has ended, or that runs in another process."""


class ReservedPort:
    """A TCP port that stays the same while one server after another listens on it.

    Clients read its number once, often at import, so it has to last; without a server they have to
    be refused at once. On Linux it is bound without listening: no other process gets the port, and
    a second socket with SO_REUSEADDR may listen on it. Elsewhere it is only remembered.
    """

    def __init__(
        self, host: str = "127.0.0.1", number: int = 0, *, is_held: bool = _CAN_HOLD
    ) -> None:
        """Bind a port; 0 is any free one.

        Raises:
            OSError: the port is in use, or not of this machine.
        """
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self._socket = socket.socket(family, socket.SOCK_STREAM)
        try:
            if is_held:
                # Both sockets need the option; asyncio sets it on its own.
                self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            self._socket.bind((host, number))
        except OSError:
            self._socket.close()
            raise
        self._name: tuple[str, int] = self._socket.getsockname()[:2]
        if not is_held:
            self._socket.close()

    @property
    def _authority(self) -> str:
        host, number = self._name
        return f"[{host}]:{number}" if ":" in host else f"{host}:{number}"

    @property
    def url(self) -> str:
        """The URL of a server on the port."""
        return f"http://{self._authority}".removesuffix(f":{_HTTP}")

    @property
    def address(self) -> str:
        """The setting `listen` of a server on the port."""
        return self._authority

    def close(self) -> None:
        """Release the port."""
        self._socket.close()


class _Loop(ServingLoop):
    """The standard loop with a clock that a patched `time` does not stop."""

    def time(self) -> float:
        """Return the monotonic clock of the system."""
        if sys.platform != "win32" and hasattr(time, "clock_gettime"):
            return time.clock_gettime(time.CLOCK_MONOTONIC)
        return super().time()


class ServerThread:
    """A thread with an event loop, for one server after another at one port.

    It uses the standard loop, which is safe in a process that may fork or load any library. Its
    methods may be called from any other thread.
    """

    def __init__(self, port: ReservedPort) -> None:
        """Start the thread."""
        self.port = port
        self._pool = _free_pools.pop() if _free_pools else KeyPool()
        self._process = os.getpid()
        self._is_closed = False
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

    @property
    def is_here(self) -> bool:
        """Whether the thread is of this process, and not of its parent."""
        return os.getpid() == self._process

    def do(self, job: Coroutine[Any, Any, T]) -> T:
        """Run a job on the loop; return its result, or raise its exception."""
        __tracebackhide__ = True
        self._check(job)
        try:
            return asyncio.run_coroutine_threadsafe(job, self._loop).result()
        except Error as error:
            # Its text is for the caller; the frames between the two threads say nothing more.
            raise error.with_traceback(None)  # noqa: B904 - the same error

    async def awaited(self, job: Coroutine[Any, Any, T]) -> T:
        """Run a job on the loop, and await it; as `do`."""
        __tracebackhide__ = True
        self._check(job)
        return await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(job, self._loop))

    def _check(self, job: Coroutine[Any, Any, T]) -> None:
        """Refuse a job that no loop would run.

        Raises:
            ServerClosedError: the thread has ended, or it is one of the parent process.
        """
        __tracebackhide__ = True
        if self._is_closed or not self.is_here:
            job.close()
            raise ServerClosedError(_CLOSED if self.is_here else _IN_PARENT)

    async def open(
        self, startup: Startup, notify: Callable[[str], None], inherited: InheritedSockets
    ) -> tuple[Server, Ready]:
        """Start a server on the port; call it on the loop.

        The server closes the inherited sockets, and gets its keys from here.

        Raises:
            ConfigError, StoreError: as `build` and `Server.start`.
        """
        at_port = with_settings(startup, listen=self.port.address)
        # The server empties its list.
        at_port = structs.replace(at_port, vms=startup.vms and [*startup.vms])
        inherited = structs.replace(inherited, make_key=self._pool.supply())
        server = build(at_port, notify, inherited)
        try:
            return server, await server.start()
        except BaseException:
            await server.stop(patience_s=0)
            raise

    def close(self) -> None:
        """End the thread; a second call does nothing."""
        if self._is_closed or not self.is_here:
            return
        self._is_closed = True
        self._loop.call_soon_threadsafe(self._end.set)
        self._thread.join()
        _free_pools.append(self._pool)


class RunningServer:
    """A server on a thread, until it is closed or replaced by a restart.

    `where` names the place of its settings, for hints.
    """

    def __init__(
        self,
        thread: ServerThread,
        startup: Startup,
        notify: Callable[[str], None],
        where: str = "",
        memory: str = "",
    ) -> None:
        """Start a server.

        If it has Azure's hosts, its file of roots is in the folder `memory`.

        Raises:
            ConfigError, StoreError: as `ServerThread.open`.
        """
        self.thread, self.where = thread, where
        self._startup, self._notify = startup, sentences_only(notify)
        has_azure_hosts = startup.settings.pki_names == AZURE
        self.azure_pki = AzurePki(Path(memory)) if has_azure_hosts else None
        """Azure's PKI hosts, if the settings name them."""
        self._folder: TemporaryDirectory[str] | None = None
        self._is_closed = False
        self.turn = asyncio.Lock()
        """For jobs that read before they write."""
        self._turn = Lock()
        self.server: Server
        self.ready: Ready
        self._start()

    def do(self, job: Coroutine[Any, Any, T]) -> T:
        """Run a job on the server's loop; return its result, or raise its exception.

        Raises:
            ServerClosedError: the server is closed, or runs in the parent process.
        """
        __tracebackhide__ = True
        self._check(job)
        return self.thread.do(job)

    async def awaited(self, job: Coroutine[Any, Any, T]) -> T:
        """Run a job on the server's loop, and await it; as `do`."""
        __tracebackhide__ = True
        self._check(job)
        return await self.thread.awaited(job)

    def _check(self, job: Coroutine[Any, Any, T]) -> None:
        __tracebackhide__ = True
        if self._is_closed:
            job.close()
            raise ServerClosedError(_CLOSED)

    def restart(self) -> None:
        """Replace the server by a new one at the same port, with the same settings.

        Raises:
            ServerClosedError: the server is closed.
            ConfigError, StoreError: as `ServerThread.open`; then the server is closed.
        """
        with self._turn:
            if self._is_closed:
                raise ServerClosedError(_CLOSED)
            self._stop()
            self._is_closed = True
            self._start()
            self._is_closed = False

    def close(self) -> None:
        """Stop the server; a second call does nothing."""
        with self._turn:
            if not self._is_closed and self.thread.is_here:
                self._is_closed = True
                self._stop()
                if self.azure_pki:
                    self.azure_pki.close()

    def _start(self) -> None:
        startup, settings = self._startup, self._startup.settings
        inherited = InheritedSockets()
        try:
            if self.azure_pki:
                inherited = self.azure_pki.inherited(settings)
            if settings.admin != "none" and not settings.state:
                # The token file must not go into the user's own state folder.
                self._folder = TemporaryDirectory(prefix="imds-")
                if self.azure_pki:  # Keys are in memory alone.
                    token = AdminToken(Path(self._folder.name) / TOKEN_NAME)
                    inherited = structs.replace(inherited, token=token)
                else:
                    startup = with_settings(startup, state=self._folder.name)
            opening = self.thread.open(startup, self._notify, inherited)
            self.server, self.ready = self.thread.do(opening)
        except BaseException:
            self._clean()
            raise

    def _stop(self) -> None:
        try:
            self.thread.do(self.server.stop(patience_s=0))
        finally:
            self._clean()

    def _clean(self) -> None:
        if self._folder:
            self._folder.cleanup()
            self._folder = None
