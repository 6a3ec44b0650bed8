"""A listener for `/metrics` alone, without a token: small enough for the process of guests.

It answers one request for each connection, in a few lines of HTTP of its own: a web server would
take some ten megabytes, and time to load. Connections, heads and the time to take an answer are
bounded. The text is made in a thread, at most once in `FRESH_S` however many collectors ask: they
cost guests nothing that could be felt.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from http import HTTPStatus
from socket import socket
from typing import TYPE_CHECKING, NamedTuple

from openimds.admin.host_header import LOOPBACK, HostHeaderError, check_name

if TYPE_CHECKING:  # It loads the Prometheus client, which only a scrape needs.
    from openimds.admin.metrics import Samples

MOST_CONNECTIONS = 16
"""The open connections of a listener; a newcomer beyond them is closed."""
MOST_HEAD_BYTES = 8192
HEAD_S = 5.0
"""The longest time for a request."""
TAKE_S = 10.0
"""The longest time in which a collector has to take the answer."""
FRESH_S = 0.5
"""A text is so long the answer to others, too."""
PATH = "/metrics"
_PLAIN = "text/plain; charset=utf-8"
_END = b"\r\n\r\n"

ReadSamples = Callable[[], Awaitable["Mapping[str, Samples]"]]
"""Returns the values by the name of a row."""


class _Request(NamedTuple):
    method: str
    path: str
    hosts: tuple[str, ...]
    accept: str


class MetricsTexts:
    """The last text in each format."""

    def __init__(self, read: ReadSamples, now: Callable[[], float]) -> None:
        """Make texts of these values; `now` is a steady clock in seconds."""
        self._read, self._now = read, now
        self._lock = asyncio.Lock()
        self._texts: dict[bool, tuple[bytes, str]] = {}
        self._made_s = 0.0

    async def text(self, accept: str) -> tuple[bytes, str]:
        """Return a text that is not older than `FRESH_S`, and its media type."""
        is_open = "application/openmetrics-text" in accept
        async with self._lock:
            if self._now() - self._made_s > FRESH_S:
                self._texts.clear()
            if is_open not in self._texts:
                samples = await self._read()
                copies = {
                    name: {**one} if isinstance(one, Mapping) else one
                    for name, one in samples.items()
                }
                self._texts[is_open] = await asyncio.to_thread(_text, copies, accept)
                self._made_s = self._now()
            return self._texts[is_open]


def _text(samples: "Mapping[str, Samples]", accept: str) -> tuple[bytes, str]:
    from openimds.admin.metrics import exposition_for  # noqa: PLC0415 - on the first scrape

    body, media = exposition_for(samples, accept)
    return body, media


class MetricsListener:
    """The sockets of the setting `metrics`, and their open connections."""

    def __init__(self, sockets: Sequence[socket], names: frozenset[str], read: ReadSamples) -> None:
        """Serve listening sockets; addresses and loopback are names, too."""
        self.sockets, self.names = sockets, LOOPBACK | names
        self.refused = 0
        self.open_connections: set[_Scrape] = set()
        self.texts = MetricsTexts(read, asyncio.get_running_loop().time)
        self._servers: list[asyncio.Server] = []

    async def open(self) -> None:
        """Accept connections from now on."""
        loop = asyncio.get_running_loop()
        for listening in self.sockets:
            self._servers.append(await loop.create_server(lambda: _Scrape(self), sock=listening))

    def close(self) -> None:
        """Close the sockets, and end every connection."""
        for server in self._servers:
            server.close()
        for listening in self.sockets:
            listening.close()
        for connection in [*self.open_connections]:
            connection.abort()


class _Scrape(asyncio.Protocol):
    """One connection: a request, its answer, the end."""

    def __init__(self, listener: MetricsListener) -> None:
        self._listener = listener
        self._head = b""
        self._transport: asyncio.Transport
        self._timer: asyncio.TimerHandle | None = None
        self._task: asyncio.Task[None] | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Take a place and wait for the request, or close the connection."""
        self._transport = transport
        if len(self._listener.open_connections) >= MOST_CONNECTIONS:
            self._listener.refused += 1
            transport.abort()
            return
        self._listener.open_connections.add(self)
        self._allow(HEAD_S)

    def data_received(self, data: bytes) -> None:
        """Collect the head; bytes behind it are dropped."""
        if self._task:
            return
        self._head += data
        if _END in self._head or len(self._head) > MOST_HEAD_BYTES:
            self._task = asyncio.create_task(self._answer())

    def eof_received(self) -> bool:
        """Answer a caller that has ended its side, too; time ends a half request."""
        return True

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - of the protocol
        """Give up the place."""
        self._listener.open_connections.discard(self)
        if self._timer:
            self._timer.cancel()
        if self._task:
            self._task.cancel()

    def abort(self) -> None:
        """End the connection at once."""
        self._transport.abort()

    def _allow(self, wait_s: float) -> None:
        """End the connection after so many seconds."""
        if self._timer:
            self._timer.cancel()
        self._timer = asyncio.get_running_loop().call_later(wait_s, self.abort)

    async def _answer(self) -> None:
        status, body, media = await self._response()
        self._allow(TAKE_S)
        head = (
            f"HTTP/1.1 {status.value} {status.phrase}\r\nContent-Type: {media}\r\n"
            f"Content-Length: {len(body)}\r\nConnection: close\r\n\r\n"
        )
        is_head = self._head.startswith(b"HEAD ")
        self._transport.write(head.encode() + (b"" if is_head else body))
        self._transport.close()

    async def _response(self) -> tuple[HTTPStatus, bytes, str]:
        request = _parsed(self._head)
        if request is None:
            return _refusal(HTTPStatus.BAD_REQUEST, "The request is not HTTP/1.1, or too long")
        try:
            check_name(request.hosts, self._listener.names, takes_addresses=True)
        except HostHeaderError as error:
            return _refusal(
                HTTPStatus.MISDIRECTED_REQUEST, f"{error}; --admin-hosts adds names to this one's"
            )
        if request.path != PATH:
            return _refusal(HTTPStatus.NOT_FOUND, f"There is only {PATH} here")
        if request.method not in {"GET", "HEAD"}:
            return _refusal(HTTPStatus.METHOD_NOT_ALLOWED, f"{PATH} takes GET, HEAD")
        try:
            body, media = await self._listener.texts.text(request.accept)
        except Exception as error:  # noqa: BLE001 - the collector shows it; guests are served on
            return _refusal(HTTPStatus.SERVICE_UNAVAILABLE, f"The values cannot be read: {error}")
        return HTTPStatus.OK, body, media


def _refusal(status: HTTPStatus, sentence: str) -> tuple[HTTPStatus, bytes, str]:
    return status, f"{sentence}.\n".encode(), _PLAIN


def _parsed(data: bytes) -> _Request | None:
    """Return a request, or None for bytes that are none."""
    head, end, _ = data.partition(_END)
    line, *headers = head.decode("latin-1").split("\r\n")
    parts = line.split(" ")
    if not end or len(parts) != 3 or not parts[2].startswith("HTTP/1."):  # noqa: PLR2004 - of RFC 9112, 3
        return None
    values: dict[str, list[str]] = {"host": [], "accept": []}
    for header in headers:
        name, colon, value = header.partition(":")
        if not colon or name != name.strip():
            return None
        values.get(name.lower(), []).append(value.strip())
    method, target, _ = parts
    path = target.partition("?")[0]
    return _Request(method, path, tuple(values["host"]), ",".join(values["accept"]))
