"""The listeners while connections are refused: closed, and opened again where they were.

Only where every VM is concerned: then nobody is to be heard, and the kernel itself refuses. Sockets
that somebody else has opened cannot be had back, so that what arrives there is reset.
"""

import asyncio
from collections.abc import Awaitable, Callable
from math import isfinite

from openimds.dataplane.dispatcher import Dispatcher
from openimds.dataplane.listeners import Enter, Listener, bound_address, listen
from openimds.errors import ConfigError
from openimds.events.clock import Clock
from openimds.faults import FaultInjector

Reopen = Callable[[str, Listener], Awaitable[Listener]]
"""Opens the listener of a text again, where it was; ConfigError says why it cannot."""
_RETRY_S = 1.0
_MOST_WAIT_S = 30.0
"""A clock of the wall may be set: look again after so long."""


def reopening(dispatcher: Dispatcher, first: str, enter: Enter) -> Reopen:
    """Return what opens the listeners of a plane again; `first` is the text of everybody's."""

    async def reopen(text: str, old: Listener) -> Listener:
        owner, said = dispatcher.fleet_index.listeners.get(text, ""), text or first
        where = f"vms.{owner}.reach.listen" if owner else "listen"
        at = bound_address(old, said)
        return await listen(dispatcher, said, where, is_own=bool(text), enter=enter, at=at)

    return reopen


class ListenerFaults:
    """Follows faults and clock; `look` has to be called when one of them is changed."""

    def __init__(
        self,
        engine: FaultInjector,
        clock: Clock,
        listeners: dict[str, Listener],
        reopen: Reopen,
        notify: Callable[[str], None],
    ) -> None:
        """Begin with whatever is open."""
        self._engine, self._clock, self._listeners = engine, clock, listeners
        self._reopen, self._notify = reopen, notify
        self._closed: dict[str, Listener] = {}
        self._told: set[str] = set()
        self._opening: asyncio.Task[None] | None = None
        self._timer: asyncio.TimerHandle | None = None

    def look(self) -> None:
        """Close what is to be closed now, open what is not, and look again in time."""
        now_s = self._clock()
        if self._engine.is_shut(now_s):
            for text, listener in self._listeners.items():
                if self._closed.get(text) is not listener:
                    listener.close()
                    self._closed[text] = listener
        elif self._closed and (self._opening is None or self._opening.done()):
            self._opening = asyncio.create_task(self._open())
        wait_s = self._clock.wait_s(self._engine.next_s(now_s))
        self._set_timer(min(wait_s, _MOST_WAIT_S) if isfinite(wait_s) else None)

    async def _open(self) -> None:
        for text, old in list(self._closed.items()):
            if self._listeners.get(text) is old:
                try:
                    new = await self._reopen(text, old)
                except ConfigError as error:
                    if text not in self._told:
                        self._told.add(text)
                        self._notify(f"{error}; it is tried again")
                    self._set_timer(_RETRY_S)
                    continue
                if self._listeners.get(text) is not old:  # The fleet has changed meanwhile.
                    new.close()
                else:
                    self._listeners[text] = new
            del self._closed[text]
            self._told.discard(text)
        if self._engine.is_shut(self._clock()):  # It has begun anew meanwhile.
            self.look()

    async def settle(self) -> None:
        """Wait until what is to be open now is, as far as it can be had."""
        if self._opening:
            await asyncio.wait({self._opening})

    def _set_timer(self, wait_s: float | None) -> None:
        if self._timer:
            self._timer.cancel()
        self._timer = None
        if wait_s is not None:
            self._timer = asyncio.get_running_loop().call_later(wait_s, self.look)

    async def close(self) -> None:
        """Open nothing any more."""
        self._set_timer(None)
        if self._opening:
            self._opening.cancel()
            await asyncio.gather(self._opening, return_exceptions=True)
        self._set_timer(None)
