"""The responses that a connection owes, in the order of their requests, and its end.

A response is owed from the moment at which its request is complete: as bytes, as work that makes
them, or as a delivery in parts. Those that are ready go out in one piece; bytes that the peer does
not take yet are kept, and go out when it reads again.

A connection ends behind the last byte that it owes. Behind a refusal its input is read and dropped
for a while, because a close with unread input becomes a reset, and the peer loses the refusal.
"""

import asyncio
import socket
import struct
from collections import deque
from typing import TypeAlias

from openimds.dataplane.bounds import READ_BYTES
from openimds.dataplane.dispatcher import Dispatcher
from openimds.dataplane.fault_delivery import FaultyDelivery
from openimds.dataplane.observer import ObservedRequest
from openimds.dataplane.parsed_request import WaitingRequest
from openimds.dataplane.phase import ConnectionSide, Phase, Step
from openimds.dataplane.poll_set import READ, WRITE
from openimds.dataplane.response_bytes import PreparedResponse
from openimds.dataplane.shares import Share
from openimds.dataplane.turns import Turns

_LINGER_BYTES = 65536
"""Input that is read and dropped behind a refusal, so that the peer gets to read the refusal."""
_NO_LINGER = struct.pack("ii", 1, 0)
_AT_ONCE = getattr(socket, "MSG_DONTWAIT", 0)
# Looked up once: in Python 3.11 the attribute of an enum is a slow call.
_IDLE, _DRAINING, _CLOSED = Phase.IDLE, Phase.DRAINING, Phase.CLOSED
_CLOSE = Step.CLOSE

Owed: TypeAlias = "bytes | asyncio.Task[bytes] | FaultyDelivery"
"""A response that is owed: its bytes, the work that makes them, or a delivery in parts."""


class ResponseWriter(ConnectionSide):
    """The writing side of one connection, and its socket; the connection derives from it.

    `_unsent` has the bytes that the peer has not taken, `_rest` those that were read and not yet
    answered. The connection decides in `_wait` which event or turn comes next.
    """

    dispatcher: Dispatcher
    _turns: Turns
    _share: Share
    _socket: socket.SocketType
    _descriptor: int
    _events = -1
    _owed: "deque[Owed] | tuple[()]" = ()
    _cancellable: asyncio.Task[bytes] | None = None
    _unsent = _rest = b""
    _is_pending = _is_ended = _is_lingering = _was_refused = _is_over = False
    _dropped_bytes = 0

    def _wait(self) -> None:
        """Wait for the peer, for a response or for a turn; see `Connection`."""

    def _release(self) -> None:
        """Give up the socket and the connection's place; see `Connection`."""

    def _give_time_to_close(self) -> None:
        """Bound the time in which the peer has to take the last bytes; see `Connection`."""

    def abort(self) -> None:
        """End the connection at once; bytes that the peer has not taken are lost."""
        self._move(_CLOSE)
        self._release()

    async def _finish(
        self, waiting: WaitingRequest, observed: ObservedRequest | None, began_s: float
    ) -> bytes:
        return self._send(await self.dispatcher.finish(waiting), observed, began_s)

    def _send(
        self, response: PreparedResponse, observed: ObservedRequest | None, began_s: float = -1.0
    ) -> bytes:
        """Return the bytes of a response, and show them to the observer."""
        self._share.requests += 1
        dispatcher, utc_s = self.dispatcher, self.dispatcher.utc()
        if began_s < 0:
            data = dispatcher.send(response, utc_s)
        else:
            response.count.note(dispatcher.now() - began_s)
            data = dispatcher.stamps.stamp(response, utc_s)
        if observed is not None and self.dispatcher.observer is not None:
            self.dispatcher.observer.observe(observed, response, data)
        return data

    def _owe(self, response: "Owed") -> None:
        """Put a response behind those that are owed."""
        if self._owed:
            self._owed.append(response)
        else:
            self._owed = deque((response,))

    def _flush(self) -> None:
        """Write the responses that are ready, in order; close behind the last one."""
        data, wait_s, resets = self._take_ready()
        if self.phase is _CLOSED:
            self._owed = ()
            return
        if data:
            self._write(data)
        bounds = self.dispatcher.bounds
        if self._owed:
            self._is_pending = True
            self.deadline_s = self.dispatcher.now() + bounds.answer_s + wait_s
        elif self._is_pending:
            self._is_pending = False
            patience_s = bounds.idle_s if self.phase is _IDLE else bounds.head_s
            self.deadline_s = self.dispatcher.now() + patience_s
        if not self._owed and self.phase is _DRAINING:
            self._close(by_reset=resets)

    def _take_ready(self) -> tuple[bytes, float, bool]:
        """Remove the ready responses from the queue.

        Return their bytes, the least time in seconds until the next piece, and whether a fault
        resets the connection behind them.
        """
        ready: list[bytes] = []
        resets = False
        while self._owed:
            first = self._owed[0]
            if isinstance(first, bytes):
                ready.append(first)
            elif isinstance(first, FaultyDelivery):
                ready.append(first.take())
                if not first.is_over:
                    return b"".join(ready), first.wait_s, False
                resets = first.resets
            elif not first.done():
                break
            elif first.cancelled():  # The loop ends before the result has come.
                self.abort()
            else:
                ready.append(first.result())
            self._owed.popleft()
        return b"".join(ready), 0.0, resets

    def _woken(self, _done: object = None) -> None:
        """Go on: a pending response is ready, or its next part is."""
        self._cancellable = None
        self._flush()
        self._wait()

    def _write(self, data: bytes) -> None:
        """Send bytes, and keep those that the peer does not take yet."""
        if self._unsent:
            self._unsent += data
            return
        try:
            sent = self._socket.send(data, _AT_ONCE)
        except (BlockingIOError, InterruptedError):
            sent = 0
        except OSError:
            self.abort()
            return
        if sent < len(data):
            self._unsent = data[sent:]

    def _send_rest(self) -> None:
        """Send the kept bytes, now that the peer takes some."""
        data, self._unsent = self._unsent, b""
        self._write(data)
        if self._unsent:
            return
        if self.phase is _CLOSED:
            self._end()
        else:
            self._flush()
            self._wait()

    def _receive(self) -> bytes:
        """Return the next piece; nothing if none is there, or if the peer has ended."""
        try:
            data = self._socket.recv(READ_BYTES, _AT_ONCE)
        except (BlockingIOError, InterruptedError):
            return b""
        except OSError:
            self.abort()
            return b""
        if not data:
            self._is_ended = True
        return data

    def _await(self, events: int) -> None:
        """Await events of the socket; until its first one it is not registered."""
        if events == self._events:
            return
        if self._events >= 0:
            self._turns.poll_set.modify(self._descriptor, events)
        elif events:
            self._turns.poll_set.register(self._descriptor, events)
        else:
            return
        self._events = events

    def _close(self, *, by_reset: bool = False) -> None:
        """End the connection once the peer has taken the last bytes, or by a reset."""
        self._move(_CLOSE)
        if self._is_over:
            return
        self._rest = b""
        if by_reset:
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _NO_LINGER)
            self._release()
        elif self._unsent:
            self._await(WRITE)
            self._give_time_to_close()
        else:
            self._end()

    def _end(self) -> None:
        """Close the socket behind the last byte.

        Unread input would turn the close into a reset, and cost the peer a refusal that it has not
        read yet: behind a refusal, input is read and dropped until the peer closes.
        """
        if not self._was_refused or self._is_ended:
            self._release()
            return
        try:
            self._socket.shutdown(socket.SHUT_WR)
        except OSError:
            self._release()
            return
        self._is_lingering = True
        self._give_time_to_close()
        self._drop_input()

    def _drop_input(self) -> None:
        """Read and drop input behind a refusal."""
        data = self._receive()
        self._dropped_bytes += len(data)
        if self._is_ended or self._dropped_bytes > _LINGER_BYTES:
            self.abort()
        elif self._is_lingering:  # It is not if receiving failed.
            self._await(READ)
