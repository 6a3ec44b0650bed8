"""Accepts connections to the port for hosts, and bounds the handshakes under way.

Anybody can open connections, and TLS takes memory for each. A connection that has sent nothing has
only its socket, and is the first to give way to a newcomer. One that is slow is the next, and where
none is, the newcomer is refused: a host comes again, and handshakes that proceed are not ended by
those of a thousand other hosts that come at the same time.
"""

import asyncio
import socket
import ssl
from asyncio import AbstractEventLoop, StreamReader, StreamReaderProtocol, StreamWriter, Task
from collections import Counter
from collections.abc import Awaitable, Callable

from openimds.errors import shortage
from openimds.server.hosts.connecting import SHUTDOWN_S

MOST_HANDSHAKES = 1024
"""All connections whose handshake is under way."""
MOST_PER_SOURCE = 256
"""Those of one address, or of one network of IPv6 addresses."""
SLOW_S = 2.0
"""A handshake that takes longer gives way to a newcomer."""
PAUSE_S = 1.0
"""The pause of accepting when the system has no file descriptor left."""
_LEAST_S = 0.001
"""The least time that asyncio takes for a handshake is above zero."""
_NETWORK_OCTETS = 8
"""The part of an IPv6 address that one caller cannot choose."""

Serve = Callable[[StreamReader, StreamWriter], Awaitable[None]]
"""Serves a connection after its handshake, until it has ended."""


class HostHandshake:
    """A connection before the end of its handshake."""

    task: Task[None]

    def __init__(self, end: socket.socket, source: str, begun_s: float) -> None:
        """Begin at a time, with a connection that has sent nothing."""
        self.end, self.source, self.begun_s = end, source, begun_s
        self.is_silent = True


class Handshakes:
    """Accepts connections of a listening socket."""

    def __init__(self, tls: ssl.SSLContext, serve: Serve, limit_s: float) -> None:
        """Serve each connection whose handshake ends in `limit_s` seconds."""
        self._tls, self._serve, self._limit_s = tls, serve, limit_s
        self._under_way: dict[HostHandshake, None] = {}
        """The handshakes, oldest first."""
        self._counts: Counter[str] = Counter()

    @property
    def count(self) -> int:
        """The number of handshakes under way."""
        return len(self._under_way)

    async def accept(self, listening: socket.socket) -> None:
        """Accept connections for ever."""
        listening.settimeout(0)
        listening.listen(MOST_HANDSHAKES)
        loop = asyncio.get_running_loop()
        while True:
            try:
                end, address = await loop.sock_accept(listening)
            except OSError as error:
                # Else it was a caller that has gone.
                await asyncio.sleep(PAUSE_S if shortage(error) else 0)
                continue
            self._begin(end, source_of(address[0]), loop)
            await asyncio.sleep(0)  # Connections that wait let no other work rest.

    async def close(self) -> None:
        """End the handshakes under way."""
        left = [*self._under_way]
        for one in left:
            one.task.cancel()
        await asyncio.gather(*(one.task for one in left), return_exceptions=True)
        for one in left:
            if one.is_silent:  # Its task may not have begun.
                one.end.close()

    def _begin(self, end: socket.socket, source: str, loop: AbstractEventLoop) -> None:
        if not self._make_place(source, loop.time()):
            end.close()
            return
        handshake = HostHandshake(end, source, loop.time())
        handshake.task = loop.create_task(self._run(handshake, loop))
        self._under_way[handshake] = None
        self._counts[source] += 1

    def _make_place(self, source: str, now_s: float) -> bool:
        """Tell whether there is place; where there is none, an older handshake gives way."""
        if self._counts[source] >= MOST_PER_SOURCE:
            crowd = [one for one in self._under_way if one.source == source]
        elif len(self._under_way) >= MOST_HANDSHAKES:
            crowd = [*self._under_way]
        else:
            return True
        oldest = crowd[0]
        leaving = next((one for one in crowd if one.is_silent), oldest)
        if not leaving.is_silent and now_s - leaving.begun_s < SLOW_S:
            return False
        leaving.task.cancel()
        self._remove(leaving)
        return True

    def _remove(self, handshake: HostHandshake) -> None:
        if handshake in self._under_way:
            del self._under_way[handshake]
            self._counts[handshake.source] -= 1
            if not self._counts[handshake.source]:
                del self._counts[handshake.source]

    async def _run(self, handshake: HostHandshake, loop: AbstractEventLoop) -> None:
        try:
            reader, writer = await self._shake(handshake, loop)
        except OSError:  # As all errors of TLS are, and the end of the time for it.
            return
        finally:
            self._remove(handshake)
        await self._serve(reader, writer)

    async def _shake(
        self, handshake: HostHandshake, loop: AbstractEventLoop
    ) -> tuple[StreamReader, StreamWriter]:
        """Return the streams of a connection after its handshake.

        Raises:
            OSError: there was none in time.
        """
        end_s = handshake.begun_s + self._limit_s
        try:
            async with asyncio.timeout_at(end_s):
                await _octet(handshake.end, loop)
        except BaseException:
            handshake.end.close()
            raise
        handshake.is_silent = False
        reader = StreamReader(loop=loop)
        protocol = StreamReaderProtocol(reader, loop=loop)
        transport, _ = await loop.connect_accepted_socket(
            lambda: protocol,
            handshake.end,
            ssl=self._tls,
            ssl_handshake_timeout=max(end_s - loop.time(), _LEAST_S),
            ssl_shutdown_timeout=SHUTDOWN_S,
        )
        return reader, StreamWriter(transport, protocol, reader, loop)


async def _octet(end: socket.socket, loop: AbstractEventLoop) -> None:
    """Wait until a connection has sent something, or was closed."""
    end.settimeout(0)
    arrived = asyncio.Event()
    loop.add_reader(end, arrived.set)
    try:
        await arrived.wait()
    finally:
        loop.remove_reader(end)


def source_of(host: str) -> str:
    """Return the caller that an address stands for: itself, or its IPv6 network."""
    if ":" not in host:
        return host
    address = socket.inet_pton(socket.AF_INET6, host.partition("%")[0])
    return address[:_NETWORK_OCTETS].hex()
