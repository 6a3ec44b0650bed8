"""Who makes what answers need: the agenda what is said of events, the office what is signed."""

from typing import Protocol

from openimds.events.service import EventsService
from openimds.protocol.pending import Pending, PendingApproval, PendingEventsDocument, Result


class CredentialProvider(Protocol):
    """Makes what has to be signed."""

    def cached(self, need: Pending, now_s: float) -> Result | None:
        """Return what is there already, or None."""
        ...

    async def make(self, need: Pending, now_s: float) -> Result:
        """Return it once it is made, or why it could not be."""
        ...


class PendingDispatch:
    """Sends each need to the one who makes it."""

    def __init__(self, signer: CredentialProvider, events_service: EventsService) -> None:
        """Stand before the two."""
        self._signer, self._events_service = signer, events_service

    def cached(self, need: Pending, now_s: float) -> Result | None:
        """Return what is there already, or None if it has to be made."""
        if isinstance(need, PendingEventsDocument):
            return self._events_service.cached(need, now_s)
        return None if isinstance(need, PendingApproval) else self._signer.cached(need, now_s)

    async def make(self, need: Pending, now_s: float) -> Result:
        """Return it once it is made, or why it could not be."""
        if isinstance(need, PendingEventsDocument):
            return self._events_service.cached(need, now_s)
        if isinstance(need, PendingApproval):
            return await self._events_service.approve(need)
        return await self._signer.make(need, now_s)
