"""The delivery of a response under a fault: in pieces, late, or not at all."""

import asyncio
from collections import deque
from collections.abc import Callable
from math import inf
from typing import Any

from openimds.dataplane.dispatcher import Dispatcher
from openimds.dataplane.observer import NoResponse, ObservedRequest
from openimds.dataplane.parsed_request import WaitingRequest
from openimds.dataplane.response_bytes import PreparedResponse
from openimds.protocol.faults.delivery import script
from openimds.protocol.faults.fault import Fault


class FaultyDelivery:
    """A response that is delivered by the script of a fault.

    `take` returns the bytes that are due; `is_over` tells that the delivery has ended, and `resets`
    that the connection is reset then. `wake` is called after every change, the next one in `wait_s`
    seconds.
    """

    def __init__(
        self,
        dispatcher: Dispatcher,
        fault: Fault,
        observed: ObservedRequest | None,
        wake: Callable[[], None],
    ) -> None:
        """Prepare to deliver the response to a request under a fault."""
        self._dispatcher, self._fault = dispatcher, fault
        self._observed, self._wake = observed, wake
        self._due: list[bytes] = []
        self._coming: deque[bytes] = deque()
        self._pause_s = self._rest_s = 0.0
        self._timer: Any = None
        self._task: asyncio.Task[None] | None = None
        self.is_over = self.resets = False
        self.wait_s = 0.0

    @property
    def is_endless(self) -> bool:
        """Whether only a time-out of either side ends the delivery."""
        return self._rest_s == inf

    def start(self, response: PreparedResponse | WaitingRequest) -> "FaultyDelivery":
        """Begin with the true response, now or once its pending work is done; return self."""
        if isinstance(response, WaitingRequest):
            self._task = asyncio.create_task(self._finish(response))
        else:
            self._begin(response)
        return self

    def take(self) -> bytes:
        """Remove and return the bytes that are due."""
        data = b"".join(self._due)
        self._due.clear()
        return data

    def cancel(self) -> None:
        """Send nothing more; pending work is finished all the same."""
        self.is_over = True
        if self._timer:
            self._timer.cancel()

    async def _finish(self, waiting: WaitingRequest) -> None:
        self._begin(await self._dispatcher.finish(waiting))
        self._wake()

    def _begin(self, response: PreparedResponse) -> None:
        is_none = isinstance(response, NoResponse)
        data = b"" if is_none else self._dispatcher.send(response, self._dispatcher.utc())
        plan = script(self._fault, data)
        if self._observed is not None and self._dispatcher.observer is not None:
            self._dispatcher.observer.observe(self._observed, response, b"".join(plan.pieces))
        if self.is_over:
            return  # The connection was lost before the pending work was done.
        self._coming.extend(plan.pieces)
        self.resets = plan.resets
        self._pause_s, self._rest_s = plan.pause_s, plan.rest_s
        if plan.first_s:
            self._schedule(plan.first_s)
        else:
            self._advance()

    def _advance(self) -> None:
        if self._coming:
            self._due.append(self._coming.popleft())
        if self._coming:
            self._schedule(self._pause_s)
        elif not self._rest_s:
            self.is_over = True
        elif not self.is_endless:
            rest_s, self._rest_s = self._rest_s, 0.0
            self._schedule(rest_s)

    def _schedule(self, wait_s: float) -> None:
        self.wait_s = wait_s
        self._timer = self._dispatcher.call_later(wait_s, self._step)

    def _step(self) -> None:
        self._advance()
        self._wake()
