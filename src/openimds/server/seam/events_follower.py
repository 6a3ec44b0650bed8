"""Scheduled events as a host shows them: published by control, approved through it."""

import asyncio
from collections.abc import Awaitable, Callable, Iterable

from openimds.errors import Error
from openimds.events.writer import PublishedScope
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
        self._scopes: dict[str, PublishedScope] = {}
        self._untouched = PublishedScope()

    def take(self, scopes: Iterable[ScopeState], *, is_whole: bool) -> None:
        """Show the published events of these scopes; with `is_whole`, of no others."""
        if is_whole:
            self._scopes.clear()
        for state in scopes:
            self._scopes[state.scope] = PublishedScope(state.events, state.incarnation)

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
                f"{need.vm} could not approve an event: control has not answered within "
                f"{self._patience_s:g} s"
            )
            return Failed("unavailable")
        except Error as error:
            self._notify(f"{need.vm} could not approve an event: {error}")
            return Failed("unavailable")
