"""The provider of pending work: events documents and approvals, or credentials."""

from typing import Protocol

from openimds.protocol.pending import (
    Approved,
    EventsDocument,
    Failed,
    Pending,
    PendingApproval,
    PendingEventsDocument,
    Result,
)


class CredentialProvider(Protocol):
    """Provides the results that take a signature or a token."""

    def cached(self, need: Pending, now_s: float) -> Result | None:
        """Return the cached result, or None."""
        ...

    async def make(self, need: Pending, now_s: float) -> Result:
        """Return the result once it is made, or the reason of its failure."""
        ...


class EventsProvider(Protocol):
    """Provides the documents of scheduled events, and takes approvals."""

    def cached(self, need: PendingEventsDocument, now_s: float) -> EventsDocument:
        """Return the document of a scope."""
        ...

    async def approve(self, need: PendingApproval) -> Approved | Failed:
        """Approve events for a VM; the approval is stored when this returns."""
        ...


class PendingDispatch:
    """Sends pending work to the provider of events or to the credentials service."""

    events: EventsProvider
    """The provider of events; it is set before the first request."""

    def __init__(self, credentials: CredentialProvider) -> None:
        """Dispatch work of credentials to this service."""
        self._credentials = credentials

    def cached(self, need: Pending, now_s: float) -> Result | None:
        """Return the result if it takes no waiting, else None."""
        if isinstance(need, PendingEventsDocument):
            return self.events.cached(need, now_s)
        return None if isinstance(need, PendingApproval) else self._credentials.cached(need, now_s)

    async def make(self, need: Pending, now_s: float) -> Result:
        """Return the result once it is made, or the reason of its failure."""
        if isinstance(need, PendingEventsDocument):
            return self.events.cached(need, now_s)
        if isinstance(need, PendingApproval):
            return await self.events.approve(need)
        return await self._credentials.make(need, now_s)
