"""A guest that harms others: `python -m bench.flooder HOST PORT SHAPE`.

The shape is JSON. It reports the number of connections when they are open. One that the server ends
is opened again, but for those that only stay open. Each request has an id of its own, as far as one
buffer of them reaches.
"""

import resource
import select
import socket
import struct
import sys
import time
from collections.abc import Callable
from itertools import cycle
from threading import Thread
from typing import Literal

import msgspec.json
from msgspec import Struct

from bench.loads import Counts, ready, report, start_late
from bench.targets import INSTANCE, METADATA, REQUEST_ID, request

Way = Literal["silent", "answered", "in turn", "pipelined", "never reading", "reset"]
"""How a connection behaves.

It sends nothing; it sends one request and reads the response; it sends each request when it has
read a response; it sends and reads as much as it can; it sends as much as it can and reads nothing;
it is reset as soon as it is open.
"""

_BUFFER_BYTES = 1 << 18
_UNSENT_BYTES = 1 << 17
"""Bytes that wait in a socket; few, so that a flood soon depends on the server alone."""
_READ_BYTES = 1 << 18
_LOOK_S = 0.1
_TIME_OUT_S = 1.0
"""The wait for a connection; a server that takes none for so long gets none from then on."""
_RESETS = 64
"""Connections that are reset between two looks at the clock."""
_RESET = struct.pack("ii", 1, 0)
"""No time for unsent bytes, of which there are none (socket(7), SO_LINGER)."""
# Linux's name, which Python 3.11 does not have: connect chooses the port, not bind (ip(7)).
_BIND_ADDRESS_NO_PORT = 24
_RESPONSE, _SUCCESS = b"HTTP/1.1 ", b"HTTP/1.1 200 "


class Shape(Struct, frozen=True):
    """A flood: its way, its connections, and their source addresses in turn."""

    way: Way
    connections: int
    addresses: tuple[str, ...]
    target: str = INSTANCE
    host: str = "169.254.169.254"


class Flood:
    """The connections of a shape."""

    def __init__(self, server: tuple[str, int], shape: Shape) -> None:
        """Open all connections, or as many as the server takes."""
        self.counts = Counts()
        self._server, self._shape = server, shape
        self._sources = cycle(shape.addresses)
        self._requests = _requests(shape.target, shape.host)
        self._buffer = memoryview(b"".join(self._requests))
        self._epoll = select.epoll()
        self._open: dict[int, socket.socket] = {}
        self._offsets: dict[int, int] = {}
        self._sent_bytes = 0
        if shape.way != "reset":
            while len(self._open) < shape.connections and self._connect():
                pass

    @property
    def connections(self) -> int:
        """The number of open connections."""
        return len(self._open)

    def run(self, lasting: Thread) -> None:
        """Flood the server as long as a thread lives."""
        start = time.perf_counter()
        run: Callable[[Thread], None] = self._reset if self._shape.way == "reset" else self._serve
        run(lasting)
        self.counts.seconds = time.perf_counter() - start
        self.counts.sent += self._sent_bytes * len(self._requests) // len(self._buffer)

    def _connect(self) -> bool:
        """Open a connection and return whether the server takes it."""
        way = self._shape.way
        peer = socket.socket()
        peer.settimeout(_TIME_OUT_S)
        peer.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _UNSENT_BYTES)
        _bind(peer, next(self._sources))
        try:
            peer.connect(self._server)
        except OSError:
            peer.close()
            return False
        if way == "answered":
            peer.sendall(self._requests[0])
        peer.settimeout(0)
        events = {"pipelined": select.EPOLLIN | select.EPOLLOUT, "never reading": select.EPOLLOUT}
        self._epoll.register(peer, events.get(way, select.EPOLLIN))
        self._open[peer.fileno()] = peer
        self._offsets[peer.fileno()] = 0
        if way == "in turn":
            self._send_next(peer)
        return True

    def _serve(self, lasting: Thread) -> None:
        way = self._shape.way
        while lasting.is_alive():
            for descriptor, events in self._epoll.poll(_LOOK_S):
                peer = self._open[descriptor]
                try:
                    if events & ~select.EPOLLOUT and not self._read(peer):
                        self._lose(peer)
                    elif events & select.EPOLLOUT:
                        self._send_buffer(peer)
                    elif way == "in turn":
                        self._send_next(peer)
                except BlockingIOError:
                    continue
                except OSError:
                    self._lose(peer)

    def _read(self, peer: socket.socket) -> bool:
        """Count the responses that have come; return whether the connection is open."""
        data = peer.recv(_READ_BYTES)
        responses = data.count(_RESPONSE)
        self.counts.answered += responses
        self.counts.refused += responses - data.count(_SUCCESS)
        return bool(data)

    def _send_buffer(self, peer: socket.socket) -> None:
        """Send as many requests as the socket takes; the first follows the last."""
        offset = self._offsets[peer.fileno()]
        sent = peer.send(self._buffer[offset:])
        self._offsets[peer.fileno()] = (offset + sent) % len(self._buffer)
        self._sent_bytes += sent

    def _send_next(self, peer: socket.socket) -> None:
        peer.send(self._requests[self.counts.sent % len(self._requests)])
        self.counts.sent += 1

    def _lose(self, peer: socket.socket) -> None:
        del self._open[peer.fileno()]
        peer.close()
        if self._shape.way not in {"silent", "answered"}:
            self._connect()

    def _reset(self, lasting: Thread) -> None:
        while lasting.is_alive():
            for _ in range(_RESETS):
                peer = socket.socket()
                peer.settimeout(0)
                _bind(peer, next(self._sources))
                peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
                peer.connect_ex(self._server)
                peer.close()
            self.counts.sent += _RESETS


def _bind(peer: socket.socket, address: str) -> None:
    peer.setsockopt(socket.IPPROTO_IP, _BIND_ADDRESS_NO_PORT, 1)
    peer.bind((address, 0))


def _requests(target: str, host: str) -> list[bytes]:
    """Return requests that fill a buffer."""
    size = len(_request(target, host, 0))
    return [_request(target, host, number) for number in range(_BUFFER_BYTES // size)]


def _request(target: str, host: str, number: int) -> bytes:
    data = request(target, *METADATA, REQUEST_ID.format(f"{number:012x}"))
    return data.replace(b"Host: 169.254.169.254", f"Host: {host}".encode())


def main() -> None:
    """Read the arguments, flood, print the counts."""
    host, port, shape = sys.argv[1:]
    start_late()
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    flood = Flood((host, int(port)), msgspec.json.decode(shape, type=Shape))
    flood.run(ready(flood.connections))
    report(flood.counts)


if __name__ == "__main__":
    main()
