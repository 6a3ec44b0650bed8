"""A lazy web server: its code loads at the first connection to its port.

The port is open from the start. Loading the web server takes longer than starting the whole data
plane. It is loaded in a thread, so
guests do not wait; the kernel keeps the first connections meanwhile.
"""

import asyncio
import logging
import socket
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, ClassVar

from openimds.errors import ConfigError

if TYPE_CHECKING:
    import uvicorn
    from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol as _Protocol
else:
    _Protocol = asyncio.Protocol

_BACKLOG = 128
_TCP = {socket.AF_INET, socket.AF_INET6}
_GRACE_S = 2
_CONNECTIONS = 256
CALLER_CONNECTIONS = 64
"""The most connections of one address: no single caller can take all of them."""
HEAD_S = 10.0
"""The longest time for the head of a request."""

MakeApplication = Callable[[], Any]


class Guarded(_Protocol):
    """A mixin before uvicorn's protocol: a time-out for heads, and a bound for each caller.

    uvicorn has no time-out before the first request, and ends the one between requests with the
    first byte of the next.
    """

    callers: ClassVar[Counter[str]]
    """The open connections by address, shared by the connections of a server."""

    _head_timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Wait for a head, or close a connection above the caller's bound."""
        super().connection_made(transport)
        self.callers[self._caller] += 1
        if self.callers[self._caller] > CALLER_CONNECTIONS:
            transport.abort()
        else:
            self._start_timer()

    def data_received(self, data: bytes) -> None:
        """Parse bytes; those of a new request start the time-out of its head."""
        super().data_received(data)
        cycle: Any = self.cycle  # None before the first request, although its type denies it.
        is_idle = cycle is None or cycle.response_complete
        if is_idle and self._head_timer is None and not self.transport.is_closing():
            self._start_timer()

    def on_headers_complete(self) -> None:
        """Begin a request."""
        self._stop_timer()
        super().on_headers_complete()

    def connection_lost(self, exc: Exception | None) -> None:
        """Count the connection out."""
        self._stop_timer()
        self.callers[self._caller] -= 1
        if not self.callers[self._caller]:
            del self.callers[self._caller]
        super().connection_lost(exc)

    @property
    def _caller(self) -> str:
        return self.client[0] if self.client else ""

    def _start_timer(self) -> None:
        # Aborted and not closed: closing would wait for a caller who does not read.
        self._head_timer = self.loop.call_later(HEAD_S, self.transport.abort)

    def _stop_timer(self) -> None:
        if self._head_timer:
            self._head_timer.cancel()
            self._head_timer = None


def bind(setting: str, address: tuple[str, int]) -> socket.socket:
    """Return a socket that listens on a setting's host and port; port 0 picks one.

    Raises:
        ConfigError: the address is in use, or not of this machine.
    """
    host, port = address
    try:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        return socket.create_server((host, port), family=family, backlog=_BACKLOG)
    except OSError as error:
        raise ConfigError(
            setting,
            f"{host}:{port} ({error.strerror or error})",
            "an address that is free here",
            f"Write --{setting} 127.0.0.1:0 for any free port, or --{setting} none",
        ) from None


class LazyServer:
    """The listening sockets of a setting, and the web server once it is loaded."""

    def __init__(
        self,
        setting: str,
        sockets: Sequence[socket.socket],
        make: MakeApplication,
        notify: Callable[[str], None],
    ) -> None:
        """Take listening sockets; `url` is that of the first."""
        self._make, self._notify, self._setting = make, notify, setting
        self._sockets = list(sockets)
        self._task: asyncio.Task[None] | None = None
        self._server: uvicorn.Server | None = None
        for listening in self._sockets:
            listening.settimeout(0)
            if listening.family in _TCP:
                # Connections inherit it. asyncio sets it only where a socket names its protocol;
                # without it the second part of an answer waits 40 ms for an acknowledgement.
                listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        bound = self._sockets[0].getsockname()
        self.url = f"http://{f'[{bound[0]}]' if ':' in bound[0] else bound[0]}:{bound[1]}"

    def open(self) -> None:
        """Wait for the first connection."""
        for listening in self._sockets:
            asyncio.get_running_loop().add_reader(listening, self._on_first_connection)

    def _stop_waiting(self) -> None:
        for listening in self._sockets:
            asyncio.get_running_loop().remove_reader(listening)

    def shut(self) -> None:
        """Close the listening sockets at once."""
        for listening in self._sockets:
            listening.close()

    def _on_first_connection(self) -> None:
        self._stop_waiting()
        self._task = asyncio.create_task(self._serve())

    async def _serve(self) -> None:
        try:
            self._server = await asyncio.to_thread(self._load)
            await self._server.serve(sockets=self._sockets)
        except Exception as error:  # noqa: BLE001 - guests are served on; the operator is notified
            self._notify(
                f"internal error in the server of --{self._setting}, which is closed now: "
                f"{error!r}; please report it"
            )
            self.shut()

    def _load(self) -> "uvicorn.Server":
        import uvicorn  # noqa: PLC0415 - the reason of this module
        from uvicorn.protocols.http.httptools_impl import (  # noqa: PLC0415 - as above
            HttpToolsProtocol,
        )

        class EmbeddedServer(uvicorn.Server):
            """A web server that leaves the signals to its process."""

            @contextmanager
            def capture_signals(self) -> Iterator[None]:
                yield

        class AdminConnection(Guarded, HttpToolsProtocol):
            """A connection of this server."""

            callers: ClassVar[Counter[str]] = Counter()

        # Bytes that are not HTTP are logged below this level; internal errors at it.
        logging.getLogger("uvicorn.error").setLevel(logging.ERROR)
        config = uvicorn.Config(
            self._make(),
            http=AdminConnection,
            # A WebSocket protocol would take connections over, and out of the count.
            ws="none",
            lifespan="off",
            log_config=None,
            access_log=False,
            server_header=False,
            timeout_keep_alive=30,
            timeout_graceful_shutdown=_GRACE_S,
            limit_concurrency=_CONNECTIONS,
        )
        return EmbeddedServer(config)

    async def close(self) -> None:
        """Let the requests under way end, and close."""
        if self._task is None:
            self._stop_waiting()
        elif self._server is None:
            self._task.cancel()
        else:
            self._server.should_exit = True
        if self._task:
            await asyncio.wait({self._task}, timeout=_GRACE_S + 1)
        self.shut()
