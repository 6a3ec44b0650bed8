"""A host's requests to control for tokens: bounds, and a control that is away.

Requests of a VM wait in a fair queue, and some are under way at a time. Once control did not
answer, those that wait are refused, and others at once: for `AWAY_S` no request is sent, then one
by one until control answers. So no guest waits for a control that is known to be away.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeAlias

from openimds.credentials.entra.failures import FailureMemory
from openimds.credentials.fair_queue import FairQueue
from openimds.errors import Error
from openimds.protocol.pending import AccessToken, Failed, PendingToken

Mint: TypeAlias = Callable[[PendingToken, float], Awaitable[AccessToken | Failed]]
"""Asks control for a token at a time; raises an `Error` if control does not answer."""

MOST_UNDER_WAY = 32
"""The most requests to control at the same time: a signature takes control 0.4 ms."""
MOST_WAITING = 512
"""The most waiting requests of all VMs; the VM that has most of them is refused."""
MOST_PER_VM = 32
"""The most waiting requests of one VM; Azure's limits allow 5."""
TIMEOUT_S = 10.0
"""The longest time that control may take for a token, in seconds."""
AWAY_S = 1.0
"""The time without a request after control did not answer, in seconds."""
FAILURE_S = 5.0
"""The time for which the same request gets the same refusal, in seconds."""

_PASSING = frozenset({"server_error", "throttled", "unavailable"})
"""The refusals that say nothing on the token itself."""
UNAVAILABLE, _THROTTLED = Failed("server_error"), Failed("throttled")


class _MintRequest:
    """A request that waits, and the future of its turn: None, or the refusal."""

    __slots__ = ("pending", "turn")

    def __init__(self, pending: PendingToken) -> None:
        self.pending = pending
        self.turn: asyncio.Future[Failed | None] = asyncio.get_running_loop().create_future()


class ControlTokens:
    """A source of tokens for `FetchedTokens`. Called on the event loop."""

    def __init__(
        self,
        mint: Mint,
        *,
        steady: Callable[[], float],
        on_refusal: Callable[[PendingToken], None] = lambda _pending: None,
        timeout_s: float = TIMEOUT_S,
    ) -> None:
        """Ask control by `mint`; `steady` is a clock in seconds that is never set.

        `on_refusal` takes a token that control refuses for good.
        """
        self._mint, self._steady, self._timeout_s = mint, steady, timeout_s
        self._on_refusal = on_refusal
        self._queue: FairQueue[_MintRequest] = FairQueue(MOST_WAITING, MOST_PER_VM)
        self._waiting: dict[PendingToken, _MintRequest] = {}
        self._failures = FailureMemory(steady)
        self._under_way = 0
        self._away_until_s: float | None = None

    def seems_away(self) -> bool:
        """Tell whether a request would be refused at once, because control did not answer."""
        if self._away_until_s is None:
            return False
        return self._under_way > 0 or self._steady() < self._away_until_s

    async def token(self, pending: PendingToken, now_s: float) -> AccessToken | Failed:
        """Return a token, or the refusal for the guest."""
        key = (pending.vm, pending.identity, pending.cloud, pending.resource)
        if known := self._failures.get(key):
            return known
        if self.seems_away():
            return UNAVAILABLE
        request = self._waiting[pending] = _MintRequest(pending)
        if refused := self._queue.put(pending.vm, request):
            self._end_wait(refused, _THROTTLED)
        self._start()
        if failed := await request.turn:
            return failed
        try:
            result = await asyncio.wait_for(self._mint(pending, now_s), self._timeout_s)
        except (Error, TimeoutError):
            self._note_away()
            return UNAVAILABLE
        finally:
            self._under_way -= 1
            self._start()
        self._away_until_s = None
        if isinstance(result, Failed):
            self._failures.put(key, result, FAILURE_S)
            if result.key not in _PASSING:
                self._on_refusal(pending)
        return result

    def withdraw(self, pending: PendingToken) -> bool:
        """Drop a request that was not sent yet, and tell whether there was one."""
        request = self._waiting.get(pending)
        if request is None:
            return False
        self._queue.remove(pending.vm, request)
        self._end_wait(request, _THROTTLED)
        return True

    def _start(self) -> None:
        """Send what may be sent."""
        while self._under_way < MOST_UNDER_WAY and (request := self._queue.take()):
            # A task that ended with the event loop waits no longer, and takes no place.
            self._under_way += not request.turn.cancelled()
            self._end_wait(request, None)

    def _note_away(self) -> None:
        self._away_until_s = self._steady() + AWAY_S
        for request in self._queue.clear():
            self._end_wait(request, UNAVAILABLE)

    def _end_wait(self, request: _MintRequest, failed: Failed | None) -> None:
        del self._waiting[request.pending]
        if not request.turn.cancelled():
            request.turn.set_result(failed)
