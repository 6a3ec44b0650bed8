"""A lazy web server: its code loads at the first connection to its port.

The port is open from the start. Loading the web server takes longer than starting the whole data
plane. It is loaded in a thread, so guests do not wait; the kernel keeps the first connections
meanwhile.

Connections are accepted here and handed to the web server, a few in each turn of the event loop.
When the system has no file descriptor left, accepting or loading pauses, and is tried again.
"""

import asyncio
import logging
import socket
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, ClassVar

from openimds.admin.connection_shares import ConnectionShares
from openimds.admin.handovers import Handovers, TlsListeners
from openimds.errors import SHORTAGES, ConfigError, shortage
from openimds.log.events import PORT_CLOSED

if TYPE_CHECKING:
    import uvicorn
    from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol as _Protocol
else:
    _Protocol = asyncio.Protocol

_BACKLOG = 128
_TCP = {socket.AF_INET, socket.AF_INET6}
_GRACE_S = 2
_BURST = 8
"""Connections that are accepted in one turn of the event loop."""
PAUSE_S = 1.0
"""The pause of accepting and loading when the system has no file descriptor left."""
HEAD_S = 10.0
"""The longest time for the head of a request."""

END_CONNECTION = "openimds.end_connection"
"""The extension of a request's scope whose `end` ends the connection without a response."""

CONNECTION = "openimds.connection"
"""The extension whose `prove` tells that a right token came, and `yield` that an answer waits."""
MOST_UNPROVEN_S = 60.0
"""The age at which a connection without a right token ends behind its answer."""
STALLED_S = 30.0
"""The longest time for which a caller may take none of the bytes that wait for it."""

MakeApplication = Callable[[], Any]
CallLater = Callable[[float, Callable[[], None]], object]
"""Calls a function after so many seconds."""


def _unreadable() -> bytes:
    """Return the response to bytes that are not HTTP: an error of the API."""
    from openimds.admin import problem  # noqa: PLC0415 - it loads starlette, as the web server does

    body = problem.encode(
        problem.ProblemDetails(
            "Bad Request",
            400,
            "The request is not HTTP/1.1; compare its request line, its headers, above all "
            "Content-Length and Transfer-Encoding, and the frames of its body with RFC 9112",
        )
    )
    return (
        f"HTTP/1.1 400 Bad Request\r\nContent-Type: {problem.MEDIA}\r\n"
        f"Content-Length: {len(body)}\r\nConnection: close\r\n\r\n"
    ).encode() + body


class Guarded(_Protocol):
    """A mixin before uvicorn's protocol: a time-out for heads, and a bound on connections.

    uvicorn has no time-out before the first request, and ends the one between requests with the
    first byte of the next. Beyond its own bound it refuses requests, of any caller. Its answer to
    bytes that are not HTTP is a plain sentence; here it is an error of the API.
    """

    shares: ClassVar[ConnectionShares]
    """The open connections of a server."""

    _head_timer: asyncio.TimerHandle | None = None
    _stall_timer: asyncio.TimerHandle | None = None
    is_proven = False
    _yields = False
    _begun_s = 0.0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Take a place and wait for a head, or close the connection."""
        super().connection_made(transport)
        self._begun_s = self.loop.time()
        if self.shares.add(self):
            self._start_timer()
        else:
            transport.abort()

    def data_received(self, data: bytes) -> None:
        """Parse bytes; those of a new request start the time-out of its head."""
        super().data_received(data)
        if self._has_no_request and self._head_timer is None and not self.transport.is_closing():
            self._start_timer()

    def on_headers_complete(self) -> None:
        """Begin a request; its application may end the connection without a response."""
        self.scope["extensions"] = {
            END_CONNECTION: {"end": self.give_way},
            CONNECTION: {"prove": self._prove, "yield": self._yield},
        }
        self._yields = False
        self._stop_timer()
        self.shares.use(self)
        super().on_headers_complete()

    def on_response_complete(self) -> None:
        """Await the next request, unless the connection is old and never showed a right token."""
        super().on_response_complete()
        is_old = self.loop.time() - self._begun_s > MOST_UNPROVEN_S
        if self.shares.kept and is_old and not self.is_proven and self._has_no_request:
            self.transport.close()

    def pause_writing(self) -> None:
        """Wait for a caller that reads slowly, but not for ever."""
        super().pause_writing()
        if self._stall_timer is None:
            self._stall_timer = self.loop.call_later(STALLED_S, self.give_way)

    def resume_writing(self) -> None:
        """Go on: the caller has read."""
        super().resume_writing()
        self._stop_stall_timer()

    def _stop_stall_timer(self) -> None:
        if self._stall_timer:
            self._stall_timer.cancel()
            self._stall_timer = None

    def _prove(self) -> None:
        """Note that the caller has shown a right token."""
        self.is_proven = True
        self.shares.prove(self)

    def _yield(self) -> None:
        """Let a newcomer have the place while the answer waits."""
        self._yields = True

    def send_400_response(self, msg: str) -> None:  # noqa: ARG002 - uvicorn's sentence
        """Refuse bytes that are not HTTP, and close the connection."""
        self.transport.write(_unreadable())
        self.transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        """Give up the place."""
        self._stop_timer()
        self._stop_stall_timer()
        self.shares.remove(self)
        super().connection_lost(exc)

    @property
    def caller(self) -> str:
        """The address of the caller; empty for a unix socket."""
        return self.client[0] if self.client else ""

    @property
    def is_idle(self) -> bool:
        """Whether no request needs the place: none is under way, or its answer waits."""
        return self._yields or self._stall_timer is not None or self._has_no_request

    @property
    def _has_no_request(self) -> bool:
        cycle: Any = self.cycle  # None before the first request, although its type denies it.
        return cycle is None or bool(cycle.response_complete)

    def give_way(self) -> None:
        """End the connection at once, for a newcomer."""
        self._stop_timer()
        # Aborted and not closed: closing would wait for a caller who does not read.
        self.transport.abort()

    def _start_timer(self) -> None:
        self._head_timer = self.loop.call_later(HEAD_S, self.transport.abort)  # As in `give_way`.

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


def url_of(listening: socket.socket, *, is_tls: bool = False) -> str:
    """Return the URL of a listening socket; with `is_tls` it is one of https."""
    host, port = listening.getsockname()[:2]
    scheme = "https" if is_tls else "http"
    return f"{scheme}://{f'[{host}]' if ':' in host else host}:{port}"


class LazyServer:
    """The listening sockets of a setting, and the web server once it is loaded."""

    def __init__(  # noqa: PLR0913, PLR0917 - its port, its callbacks, its bound and its clock
        self,
        setting: str,
        sockets: Sequence[socket.socket],
        make: MakeApplication,
        notify: Callable[[str], None],
        on_shortage: Callable[[OSError], None],
        most: int,
        call_later: CallLater | None = None,
        tls: TlsListeners | None = None,
    ) -> None:
        """Take listening sockets; `url` is that of the first.

        `make` returns the application. `on_shortage` is called when accepting or loading pauses for
        want of descriptors; `call_later`, by default the loop's, ends the pause. At most `most`
        connections are open. The sockets of `tls` are served as well.
        """
        self._make, self._notify, self._setting = make, notify, setting
        self._on_shortage, self._call_later = on_shortage, call_later
        # A part is kept for callers with a token; the public port has none.
        self.shares = ConnectionShares(most, most // 4 if setting == "admin" else 0)
        self._tls = tls
        self._sockets = [*sockets, *(tls.sockets if tls else ())]
        self._task: asyncio.Task[None] | None = None
        self._server: uvicorn.Server | None = None
        self._handovers = Handovers()
        self._is_paused = self._is_closed = False
        for listening in self._sockets:
            listening.settimeout(0)
            if listening.family in _TCP:
                # Connections inherit it. asyncio sets it only where a socket names its protocol;
                # without it the second part of an answer waits 40 ms for an acknowledgement.
                listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.url = url_of(self._sockets[0], is_tls=not sockets)

    def open(self) -> None:
        """Wait for connections; the first one loads the web server."""
        loop = asyncio.get_running_loop()
        for listening in self._sockets:
            if self._server:
                loop.add_reader(listening, self._accept, self._server, listening)
            else:
                loop.add_reader(listening, self._on_first_connection)

    def _stop_waiting(self) -> None:
        for listening in self._sockets:
            if listening.fileno() >= 0:
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
            self.open()
            await self._server.serve(sockets=[])
        except Exception as error:  # noqa: BLE001 - guests are served on; the operator is notified
            if self._server is None and (reason := shortage(error)):
                self._task = None
                self._pause(reason)
                return
            self._notify(
                PORT_CLOSED.message(
                    f"internal error in the server of --{self._setting}, which is closed now: "
                    f"{error!r}; please report it",
                    setting=self._setting,
                    error=type(error).__name__,
                )
            )
            self._stop_waiting()
            self.shut()

    def _pause(self, reason: OSError) -> None:
        """Accept and load nothing for a moment; callers wait in the kernel."""
        if self._is_paused or self._is_closed:
            return
        self._is_paused = True
        self._stop_waiting()
        self._on_shortage(reason)
        call_later = self._call_later or asyncio.get_running_loop().call_later
        call_later(PAUSE_S, self._end_pause)

    def _end_pause(self) -> None:
        self._is_paused = False
        if not self._is_closed:
            self.open()

    def _accept(self, server: "uvicorn.Server", listening: socket.socket) -> None:
        """Accept a few connections, and hand them to the web server."""
        for _ in range(_BURST):
            try:
                accepted, peer = listening.accept()
            except BlockingIOError:
                return
            except OSError as error:
                if error.errno in SHORTAGES:
                    self._pause(error)
                    return
                continue  # The caller has gone.
            is_tls = self._tls is not None and listening in self._tls.sockets
            context = self._tls.context() if self._tls and is_tls else None
            caller = peer[0] if isinstance(peer, tuple) else ""
            self._handovers.begin(server, accepted, caller, context)

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

            shares: ClassVar[ConnectionShares] = self.shares

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
        )
        config.load()
        return EmbeddedServer(config)

    async def close(self) -> None:
        """Let the requests under way end, and close."""
        self._is_closed = True
        self._stop_waiting()
        if self._server:
            self._server.should_exit = True
        elif self._task:
            self._task.cancel()
        if self._task:
            await asyncio.wait({self._task}, timeout=_GRACE_S + 1)
        self.shut()
