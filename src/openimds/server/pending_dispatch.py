"""Who makes what answers need: the agenda what is said of events, the office what is signed."""

from typing import Protocol

from openimds.events.service import Agenda
from openimds.protocol.pending import Made, Need, NeedsApproval, NeedsBulletin


class Signer(Protocol):
    """Makes what has to be signed."""

    def held(self, need: Need, now_s: float) -> Made | None:
        """Return what is there already, or None."""
        ...

    async def make(self, need: Need, now_s: float) -> Made:
        """Return it once it is made, or why it could not be."""
        ...


class Making:
    """Sends each need to the one who makes it."""

    def __init__(self, signer: Signer, agenda: Agenda) -> None:
        """Stand before the two."""
        self._signer, self._agenda = signer, agenda

    def held(self, need: Need, now_s: float) -> Made | None:
        """Return what is there already, or None if it has to be made."""
        if isinstance(need, NeedsBulletin):
            return self._agenda.held(need, now_s)
        return None if isinstance(need, NeedsApproval) else self._signer.held(need, now_s)

    async def make(self, need: Need, now_s: float) -> Made:
        """Return it once it is made, or why it could not be."""
        if isinstance(need, NeedsBulletin):
            return self._agenda.held(need, now_s)
        if isinstance(need, NeedsApproval):
            return await self._agenda.approve(need)
        return await self._signer.make(need, now_s)
