"""Close or filter the listeners while faults refuse or swallow connections.

Only faults that concern every VM close listeners, which open again at their addresses: meanwhile
the kernel itself refuses. An inherited socket could not be reopened; it stays open and connections
to it are reset.
"""

import asyncio
from collections.abc import Awaitable, Callable
from math import isfinite

from openimds.dataplane.listeners import Enter, Listener, bound_address, listen
from openimds.dataplane.reactor import Reactor
from openimds.errors import ConfigError
from openimds.events.clock import Clock
from openimds.faults import FaultInjector
from openimds.log.events import LISTENER_TROUBLE
from openimds.server.connection_filters import ConnectionFilters

Reopen = Callable[[str, Listener], Awaitable[Listener]]
"""Opens the listener of a text again, at its old address; raises ConfigError if it cannot."""
_RETRY_S = 1.0
_LONGEST_WAIT_S = 30.0
"""The system clock may be set: look again after this time."""


def reopener(reactor: Reactor, enter: Enter) -> Reopen:
    """Return the function that reopens listeners; the text of a shared one is ""."""

    async def reopen(text: str, old: Listener) -> Listener:
        owner = reactor.dispatcher.fleet_index.listeners.get(text, "")
        where = f"vms.{owner}.reach.listen" if owner else "listen"
        at = bound_address(old, old.text)
        return await listen(reactor, old.text, where, is_own=bool(text), enter=enter, at=at)

    return reopen


class ListenerFaults:
    """Closes and reopens listeners; call `apply` when the faults or the clock change."""

    def __init__(
        self,
        engine: FaultInjector,
        clock: Clock,
        listeners: dict[str, Listener],
        reopen: Reopen,
        notify: Callable[[str], None],
    ) -> None:
        """Close nothing yet; `listeners` is the live dictionary of the open ones, by text.

        `failures` counts the failed tries to reopen a listener.
        """
        self.failures = 0
        self.filters: ConnectionFilters | None = None
        """Those of faults that swallow connections."""
        self._engine, self._clock, self._listeners = engine, clock, listeners
        self._reopen, self._notify = reopen, notify
        self._closed: dict[str, Listener] = {}
        self._reported: set[str] = set()
        self._opening: asyncio.Task[None] | None = None
        self._timer: asyncio.TimerHandle | None = None

    def apply(self) -> None:
        """Close or reopen listeners as the active faults have it, and again when those change."""
        now_s = self._clock()
        if self.filters:
            self.filters.apply()
        if self._engine.is_shut(now_s):
            for text, listener in self._listeners.items():
                if self._closed.get(text) is not listener:
                    listener.close()
                    self._closed[text] = listener
        elif self._closed and (self._opening is None or self._opening.done()):
            self._opening = asyncio.create_task(self._open())
        wait_s = self._clock.wait_s(self._engine.next_s(now_s))
        # A filter is also brought up to the fleet's addresses of that time.
        is_watched = isfinite(wait_s) or bool(self.filters and self.filters.is_active)
        self._set_timer(min(wait_s, _LONGEST_WAIT_S) if is_watched else None)

    async def settle(self) -> None:
        """Wait until every listener that is being reopened is open, or has failed."""
        if self._opening:
            await asyncio.wait({self._opening})

    async def close(self) -> None:
        """Reopen and filter nothing any longer."""
        self._set_timer(None)
        if self._opening:
            self._opening.cancel()
            await asyncio.gather(self._opening, return_exceptions=True)
        self._set_timer(None)
        if self.filters:
            self.filters.clear()
            self.filters = None  # A later change of the fleet attaches none.

    async def _open(self) -> None:
        for text, old in list(self._closed.items()):
            if self._listeners.get(text) is old:
                try:
                    new = await self._reopen(text, old)
                except ConfigError as error:
                    self.failures += 1
                    if text not in self._reported:
                        self._reported.add(text)
                        self._notify(
                            LISTENER_TROUBLE.message(f"{error}; retrying every {_RETRY_S:g} s")
                        )
                    self._set_timer(_RETRY_S)
                    continue
                if self._listeners.get(text) is not old:  # The fleet changed meanwhile.
                    new.close()
                else:
                    self._listeners[text] = new
                    if self.filters:
                        self.filters.apply()
            del self._closed[text]
            self._reported.discard(text)
        if self._engine.is_shut(self._clock()):  # The fault began again meanwhile.
            self.apply()

    def _set_timer(self, wait_s: float | None) -> None:
        if self._timer:
            self._timer.cancel()
        self._timer = None
        if wait_s is not None:
            self._timer = asyncio.get_running_loop().call_later(wait_s, self.apply)
