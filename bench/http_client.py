"""Requests over a real socket, from a chosen source address, with kernel timestamps."""

import os
import socket
import struct
import time
from collections.abc import Iterator
from contextlib import contextmanager

from bench.servers import Address

_END = b"\r\n\r\n"
_LENGTH = b"\r\nContent-Length: "
# Linux's name, which Python does not have: the kernel notes the arrival of bytes (socket(7)).
_SO_TIMESTAMPNS = 35
_TIMESPEC = struct.Struct("@ll")


class HttpClient:
    """A persistent connection to a server."""

    def __init__(self, address: Address, source: str = "", time_out_s: float = 10.0) -> None:
        """Connect from a source address, or from the one that the kernel picks."""
        self._socket = socket.create_connection(
            address, time_out_s, source_address=(source, 0) if source else None
        )
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._socket.setsockopt(socket.SOL_SOCKET, _SO_TIMESTAMPNS, 1)
        self.wait_s = self.arrival_s = 0.0

    def send(self, request: bytes) -> tuple[int, bytes]:
        """Send a request and return the status and the body of the response.

        `arrival_s` is then the time, in seconds since 1970, at which the last bytes of the response
        arrived at the socket, by the kernel's timestamp, and `wait_s` the time until then: a longer
        sleep of this process is not the server's.

        Raises:
            RuntimeError: the server closed the connection.
        """
        data = b""
        start = time.time()
        self._socket.sendall(request)
        while True:
            piece, notes, _, _ = self._socket.recvmsg(65536, socket.CMSG_SPACE(_TIMESPEC.size))
            if not piece:
                raise RuntimeError("the server closed the connection")
            data += piece
            head, end, body = data.partition(_END)
            if end and len(body) >= int(head.partition(_LENGTH)[2].partition(b"\r\n")[0]):
                self.arrival_s = _arrival_s(notes)
                self.wait_s = self.arrival_s - start
                return int(head[9:12]), body

    def close(self) -> None:
        """Close the connection."""
        self._socket.close()


def _arrival_s(notes: list[tuple[int, int, bytes]]) -> float:
    for level, kind, data in notes:
        if (level, kind) == (socket.SOL_SOCKET, _SO_TIMESTAMPNS):
            seconds, nanoseconds = _TIMESPEC.unpack(data)
            return float(seconds + nanoseconds / 1e9)
    return time.time()


@contextmanager
def http_client(address: Address, source: str = "") -> Iterator[HttpClient]:
    """Connect, and close the connection after the block."""
    connected = HttpClient(address, source)
    try:
        yield connected
    finally:
        connected.close()


@contextmanager
def pinned(core: int) -> Iterator[None]:
    """Keep this process on one core inside the block."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {core})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)
