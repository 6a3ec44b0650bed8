"""Scheduled events as a host shows them: published by control, approved through it."""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping
from collections.abc import Set as AbstractSet

from openimds.errors import Error
from openimds.events.writer import PublishedScope
from openimds.facts.events import FIRST_INCARNATION
from openimds.log.events import EVENT_TROUBLE
from openimds.protocol.events.document import ScopeActivity
from openimds.protocol.pending import (
    Approved,
    EventsDocument,
    Failed,
    PendingApproval,
    PendingEventsDocument,
)
from openimds.server.notify import Notify
from openimds.server.seam.messages import ScopeState

Send = Callable[[PendingApproval], Awaitable[Approved | Failed]]
"""Sends an approval to control; raises Error if control cannot take it now."""
APPROVE_S = 10.0
"""The longest wait of a guest for control; its approval then gets the answer 503."""


class EventsFollower:
    """Provides the documents of published events, and passes approvals to control."""

    def __init__(
        self,
        send: Send,
        utc: Callable[[], float],
        notify: Notify,
        activity: ScopeActivity | None = None,
        patience_s: float = APPROVE_S,
    ) -> None:
        """Show no event; `activity` hides events from inactive scopes.

        An approval waits for control for at most `patience_s`.
        """
        self._patience_s = patience_s
        self._send, self._utc, self._notify, self._activity = send, utc, notify, activity
        self._coming: dict[str, PublishedScope] | None = None
        """The parts of a whole set that has begun."""
        self._noted: dict[str, tuple[float, float]] = {}
        self._scopes: dict[str, PublishedScope] = {}
        self._untouched = PublishedScope()

    def take(self, scopes: Iterable[ScopeState], *, is_whole: bool, is_last: bool = True) -> None:
        """Show the published events of these scopes; with `is_whole`, of no others.

        What begins with `is_whole` is shown at once, with its last part. A scope that never had an
        event, or was forgotten, takes no memory.
        """
        if is_whole:
            self._coming = {}
        target = self._scopes if self._coming is None else self._coming
        for state in scopes:
            if state.events or state.incarnation != FIRST_INCARNATION:
                target[state.scope] = PublishedScope(state.events, state.incarnation)
            else:
                target.pop(state.scope, None)
        if is_last and self._coming is not None:
            self._scopes, self._coming = self._coming, None

    def keep(self, scopes: AbstractSet[str]) -> None:
        """Show no other scopes than these any longer."""
        for scope in self._scopes.keys() - scopes:
            del self._scopes[scope]

    def new_activity(self, *, is_whole: bool = False) -> dict[str, tuple[float, float]]:
        """Return the requests of scopes since the last call; with `is_whole`, all."""
        if self._activity is None:
            return {}
        if is_whole:
            self._noted = {}
        times = {scope: self._activity.of(scope) for scope in self._activity.scopes()}
        new = {scope: one for scope, one in times.items() if one and self._noted.get(scope) != one}
        self._noted = {scope: one for scope, one in times.items() if one}
        return new

    def take_activity(self, scopes: Mapping[str, tuple[float, float]]) -> None:
        """Take the requests of scopes on other hosts."""
        for scope, times in scopes.items():
            if self._activity:
                self._activity.merge(scope, *times)

    def cached(self, need: PendingEventsDocument, now_s: float) -> EventsDocument:
        """Return the document of a scope; a new object whenever it has changed."""
        scope = self._scopes.get(need.scope, self._untouched)
        if self._activity and not self._activity.asks(need.scope, now_s):
            scope = self._untouched
        return scope.document(need.version)

    async def approve(self, need: PendingApproval) -> Approved | Failed:
        """Approve events for a VM; the approval is stored when this returns."""
        if self._activity and not self._activity.asks(need.scope, self._utc()):
            return Failed("malformed_events")
        try:
            async with asyncio.timeout(self._patience_s):
                return await self._send(need)
        except TimeoutError:
            self._notify(
                EVENT_TROUBLE.message(
                    f"{need.vm} could not approve an event: control has not answered within "
                    f"{self._patience_s:g} s",
                    vm=need.vm,
                )
            )
            return Failed("unavailable")
        except Error as error:
            self._notify(
                EVENT_TROUBLE.message(f"{need.vm} could not approve an event: {error}", vm=need.vm)
            )
            return Failed("unavailable")
