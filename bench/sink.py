"""A server without work: `python -m bench.sink`.

A flood that goes to it instead of the measured server loads the clients' core alone, and about as
much: like a server under limits, it reads a piece of each connection once a second and answers it
with a refusal, which it drops where the peer reads nothing. It accepts as fast as it can, and tells
its port when it is ready.
"""

import select
import socket
import time
from threading import Thread

from bench.loads import Counts, ready, report, start_late

_READ_BYTES = 4096
_BACKLOG = 4096
_TURN_S = 1.0
_BURST = 64
_REFUSAL = b"HTTP/1.1 429 Too Many Requests\r\nContent-Length: 0\r\n\r\n"


class Sink:
    """A listening socket with its connections."""

    def __init__(self) -> None:
        """Listen on any free port of loopback."""
        self._listening = socket.create_server(("127.0.0.1", 0), backlog=_BACKLOG)
        self._listening.settimeout(0)
        self.port: int = self._listening.getsockname()[1]
        self._open: list[socket.socket] = []

    def run(self, lasting: Thread) -> None:
        """Serve as long as a thread lives."""
        next_s = time.perf_counter()
        while lasting.is_alive():
            rest_s = max(0.0, next_s - time.perf_counter())
            if select.select([self._listening], (), (), rest_s)[0]:
                self._accept()
            if time.perf_counter() >= next_s:
                self._open = [peer for peer in self._open if _serve(peer)]
                next_s += _TURN_S

    def _accept(self) -> None:
        """Accept a burst; keep the connections that are still open."""
        for _ in range(_BURST):
            try:
                peer, _ = self._listening.accept()
            except OSError:
                return
            peer.settimeout(0)
            if _serve(peer):
                self._open.append(peer)


def _serve(peer: socket.socket) -> bool:
    """Read a piece and answer it; return whether the connection stays open."""
    try:
        if peer.recv(_READ_BYTES):
            peer.send(_REFUSAL)
            return True
    except BlockingIOError:
        return True
    except OSError:
        pass
    peer.close()
    return False


def main() -> None:
    """Serve until the input ends."""
    start_late()
    sink = Sink()
    sink.run(ready(sink.port))
    report(Counts())


if __name__ == "__main__":
    main()
