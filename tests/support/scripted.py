"""A server on loopback with scripted responses, one for each connection."""

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

HANG = None
"""As a response: nothing, and the connection stays open."""


class Scripted:
    """A scripted server: its URL and the requests that it received."""

    def __init__(self, listening: socket.socket, responses: list[bytes | None]) -> None:
        self.url = f"http://127.0.0.1:{listening.getsockname()[1]}"
        self.requests: list[bytes] = []
        self._listening, self._responses = listening, responses
        self._open: list[socket.socket] = []

    def serve(self) -> None:
        with suppress(OSError):
            while True:
                peer, _ = self._listening.accept()
                self._open.append(peer)
                self._respond(peer)

    def _respond(self, peer: socket.socket) -> None:
        request = b""
        while b"\r\n\r\n" not in request:
            request += peer.recv(1 << 16)
        self.requests.append(request)
        # The last response is repeated.
        response = self._responses.pop(0) if len(self._responses) > 1 else self._responses[0]
        if response is not None:
            peer.sendall(response)
            peer.close()

    def close(self) -> None:
        self._listening.shutdown(socket.SHUT_RDWR)
        self._listening.close()
        for peer in self._open:
            peer.close()


@contextmanager
def scripted(*responses: bytes | None) -> Iterator[Scripted]:
    """Serve each connection the next response, and the last one for ever."""
    listening = socket.create_server(("127.0.0.1", 0))
    server = Scripted(listening, list(responses))
    thread = threading.Thread(target=server.serve)
    thread.start()
    try:
        yield server
    finally:
        server.close()
        thread.join(10)
