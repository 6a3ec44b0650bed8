"""A server on loopback that says the bytes it is told to, one connection after the other."""

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

HANG = None
"""As an answer: nothing, and the connection stays open."""


class Scripted:
    """What it was asked, and where it is."""

    def __init__(self, listening: socket.socket, answers: list[bytes | None]) -> None:
        self.url = f"http://127.0.0.1:{listening.getsockname()[1]}"
        self.requests: list[bytes] = []
        self._listening, self._answers = listening, answers
        self._open: list[socket.socket] = []

    def serve(self) -> None:
        with suppress(OSError):
            while True:
                peer, _ = self._listening.accept()
                self._open.append(peer)
                self._one(peer)

    def _one(self, peer: socket.socket) -> None:
        asked = b""
        while b"\r\n\r\n" not in asked:
            asked += peer.recv(1 << 16)
        self.requests.append(asked)
        # The last answer is given for ever.
        said = self._answers.pop(0) if len(self._answers) > 1 else self._answers[0]
        if said is not None:
            peer.sendall(said)
            peer.close()

    def close(self) -> None:
        self._listening.shutdown(socket.SHUT_RDWR)
        self._listening.close()
        for peer in self._open:
            peer.close()


@contextmanager
def scripted(*answers: bytes | None) -> Iterator[Scripted]:
    """Answer so, each connection with the next one and at last always the same."""
    listening = socket.create_server(("127.0.0.1", 0))
    server = Scripted(listening, list(answers))
    thread = threading.Thread(target=server.serve)
    thread.start()
    try:
        yield server
    finally:
        server.close()
        thread.join(10)
