"""The admin port: open from the start, with nobody behind it until somebody knocks.

Loading the web server takes longer than starting the whole data plane, so it waits for the first
connection, which the kernel keeps in the meantime. It is loaded in a thread: guests do not notice.
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
_GRACE_S = 2
_CONNECTIONS = 256
CALLER_CONNECTIONS = 64
"""How many connections one address may have: nobody alone can take all that there are."""
HEAD_S = 10.0
"""How long a caller may take for the head of a request."""

MakeApplication = Callable[[], Any]


class Guarded(_Protocol):
    """What uvicorn's connection lacks: an end to the patience, and a share of each caller.

    uvicorn has no time-out before the first request, and ends the one between requests with the
    first byte of the next. Put it before uvicorn's own protocol.
    """

    callers: ClassVar[Counter[str]]
    """The open connections by address; those of one door share it."""

    _head_timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Wait for a head, unless the caller has connections enough."""
        super().connection_made(transport)
        self.callers[self._caller] += 1
        if self.callers[self._caller] > CALLER_CONNECTIONS:
            transport.abort()
        else:
            self._wait()

    def data_received(self, data: bytes) -> None:
        """Take bytes; those that belong to no request under way have to become one soon."""
        super().data_received(data)
        cycle: Any = self.cycle  # None before the first request, whatever its type says.
        is_idle = cycle is None or cycle.response_complete
        if is_idle and self._head_timer is None and not self.transport.is_closing():
            self._wait()

    def on_headers_complete(self) -> None:
        """Begin a request."""
        self._stop_waiting()
        super().on_headers_complete()

    def connection_lost(self, exc: Exception | None) -> None:
        """Give the place back."""
        self._stop_waiting()
        self.callers[self._caller] -= 1
        if not self.callers[self._caller]:
            del self.callers[self._caller]
        super().connection_lost(exc)

    @property
    def _caller(self) -> str:
        return self.client[0] if self.client else ""

    def _wait(self) -> None:
        # Aborted and not closed: closing would wait for a caller who does not read.
        self._head_timer = self.loop.call_later(HEAD_S, self.transport.abort)

    def _stop_waiting(self) -> None:
        if self._head_timer:
            self._head_timer.cancel()
            self._head_timer = None


def bind(setting: str, address: tuple[str, int]) -> socket.socket:
    """Return a socket that listens at the host and port of a setting; port 0 takes a free one.

    Raises:
        ConfigError: the address cannot be had.
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
    """The listening sockets of a setting, and the server once there is one."""

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
        for one in self._sockets:
            one.settimeout(0)
        bound = self._sockets[0].getsockname()
        self.url = f"http://{f'[{bound[0]}]' if ':' in bound[0] else bound[0]}:{bound[1]}"

    def open(self) -> None:
        """Wait for the first knock."""
        for one in self._sockets:
            asyncio.get_running_loop().add_reader(one, self._knock)

    def _hear_no_more(self) -> None:
        for one in self._sockets:
            asyncio.get_running_loop().remove_reader(one)

    def shut(self) -> None:
        """Close the sockets, whoever is there."""
        for one in self._sockets:
            one.close()

    def _knock(self) -> None:
        self._hear_no_more()
        self._task = asyncio.create_task(self._serve())

    async def _serve(self) -> None:
        try:
            self._server = await asyncio.to_thread(self._load)
            await self._server.serve(sockets=self._sockets)
        except Exception as error:  # noqa: BLE001 - guests are served on; the operator is told
            self._notify(f"what listens for --{self._setting} cannot be served: {error!r}")
            self.shut()

    def _load(self) -> "uvicorn.Server":
        import uvicorn  # noqa: PLC0415 - the reason of this module
        from uvicorn.protocols.http.httptools_impl import (  # noqa: PLC0415 - as above
            HttpToolsProtocol,
        )

        class Quiet(uvicorn.Server):
            """A server that leaves the signals to the process that it is part of."""

            @contextmanager
            def capture_signals(self) -> Iterator[None]:
                yield

        class AdminConnection(Guarded, HttpToolsProtocol):
            """A connection of this door."""

            callers: ClassVar[Counter[str]] = Counter()

        # Bytes that are no HTTP are the caller's affair; a mistake of ours is still said.
        logging.getLogger("uvicorn.error").setLevel(logging.ERROR)
        config = uvicorn.Config(
            self._make(),
            http=AdminConnection,
            # It would take connections over, and out of the count.
            ws="none",
            lifespan="off",
            log_config=None,
            access_log=False,
            server_header=False,
            timeout_keep_alive=30,
            timeout_graceful_shutdown=_GRACE_S,
            limit_concurrency=_CONNECTIONS,
        )
        return Quiet(config)

    async def close(self) -> None:
        """Answer what is under way, and go."""
        if self._task is None:
            self._hear_no_more()
        elif self._server is None:
            self._task.cancel()
        else:
            self._server.should_exit = True
        if self._task:
            await asyncio.wait({self._task}, timeout=_GRACE_S + 1)
        self.shut()
