"""The provider of pending work: events documents and approvals, or credentials."""

from typing import Protocol

from openimds.events.service import EventsService
from openimds.protocol.pending import Pending, PendingApproval, PendingEventsDocument, Result


class CredentialProvider(Protocol):
    """Provides the results that take a signature or a token."""

    def cached(self, need: Pending, now_s: float) -> Result | None:
        """Return the cached result, or None."""
        ...

    async def make(self, need: Pending, now_s: float) -> Result:
        """Return the result once it is made, or the reason of its failure."""
        ...


class PendingDispatch:
    """Sends pending work to the events service or to the credentials service."""

    def __init__(self, credentials: CredentialProvider, events_service: EventsService) -> None:
        """Dispatch to these two."""
        self._credentials, self._events_service = credentials, events_service

    def cached(self, need: Pending, now_s: float) -> Result | None:
        """Return the result if it takes no waiting, else None."""
        if isinstance(need, PendingEventsDocument):
            return self._events_service.cached(need, now_s)
        return None if isinstance(need, PendingApproval) else self._credentials.cached(need, now_s)

    async def make(self, need: Pending, now_s: float) -> Result:
        """Return the result once it is made, or the reason of its failure."""
        if isinstance(need, PendingEventsDocument):
            return self._events_service.cached(need, now_s)
        if isinstance(need, PendingApproval):
            return await self._events_service.approve(need)
        return await self._credentials.make(need, now_s)
