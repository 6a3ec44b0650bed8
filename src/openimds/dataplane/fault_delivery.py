"""How a reply goes out on which a fault is played: piece by piece, late, or not at all."""

import asyncio
import socket
import struct
from collections import deque
from collections.abc import Callable
from math import inf
from typing import Any

from openimds.dataplane.dispatcher import Dispatcher, WaitingRequest
from openimds.dataplane.observer import NoResponse, ObservedRequest
from openimds.dataplane.response_bytes import PreparedResponse
from openimds.protocol.faults.delivery import script
from openimds.protocol.faults.fault import Fault

_NO_LINGER = struct.pack("ii", 1, 0)


class FaultyDelivery:
    """A reply on its way out, in its own time.

    `take` gives what can be written now, `is_over` tells when nothing more will come, and `resets`
    whether the connection is reset then. `wake` is called whenever something has changed, and
    `wait_s` is the time until then.
    """

    def __init__(
        self,
        dispatcher: Dispatcher,
        fault: Fault,
        heard: ObservedRequest | None,
        wake: Callable[[], None],
    ) -> None:
        """Prepare to play a fault on the reply to a request."""
        self._dispatcher, self._fault, self._heard, self._wake = dispatcher, fault, heard, wake
        self._ready: list[bytes] = []
        self._coming: deque[bytes] = deque()
        self._pause_s = self._rest_s = 0.0
        self._timer: Any = None
        self._task: asyncio.Task[None] | None = None
        self.is_over = self.resets = False
        self.wait_s = 0.0

    @property
    def is_endless(self) -> bool:
        """Tell whether only the patience of one of the two ends this."""
        return self._rest_s == inf

    def start(self, reply: PreparedResponse | WaitingRequest) -> "FaultyDelivery":
        """Begin with the true reply, or once it is made; what is due at once can be taken now."""
        if isinstance(reply, WaitingRequest):
            self._task = asyncio.create_task(self._fulfil(reply))
        else:
            self._begin(reply)
        return self

    def take(self) -> bytes:
        """Return what is ready."""
        data = b"".join(self._ready)
        self._ready.clear()
        return data

    def cancel(self) -> None:
        """Let nothing more come; what was asked is done all the same."""
        self.is_over = True
        if self._timer:
            self._timer.cancel()

    async def _fulfil(self, waiting: WaitingRequest) -> None:
        self._begin(await self._dispatcher.fulfil(waiting))
        self._wake()

    def _begin(self, reply: PreparedResponse) -> None:
        is_none = isinstance(reply, NoResponse)
        said = b"" if is_none else self._dispatcher.send(reply, self._dispatcher.utc())
        wanted = script(self._fault, said)
        if self._heard is not None and self._dispatcher.observer is not None:
            self._dispatcher.observer.observe(self._heard, reply, b"".join(wanted.pieces))
        if self.is_over:
            return  # The guest has gone meanwhile.
        self._coming.extend(wanted.pieces)
        self.resets = wanted.resets
        self._pause_s, self._rest_s = wanted.pause_s, wanted.rest_s
        if wanted.first_s:
            self._in(wanted.first_s)
        else:
            self._go_on()

    def _go_on(self) -> None:
        if self._coming:
            self._ready.append(self._coming.popleft())
        if self._coming:
            self._in(self._pause_s)
        elif not self._rest_s:
            self.is_over = True
        elif not self.is_endless:
            rest_s, self._rest_s = self._rest_s, 0.0
            self._in(rest_s)

    def _in(self, wait_s: float) -> None:
        self.wait_s = wait_s
        self._timer = self._dispatcher.call_later(wait_s, self._step)

    def _step(self) -> None:
        self._go_on()
        self._wake()


def reset(transport: asyncio.Transport) -> None:
    """End a connection with a reset, as the kernel does for a process that is gone."""
    taken: socket.socket = transport.get_extra_info("socket")
    taken.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _NO_LINGER)
    transport.abort()
