"""The credentials of a host's guests: the provider of pending work apart from control."""

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Iterable
from collections.abc import Set as AbstractSet
from typing import TypeAlias

from msgspec import structs

from openimds.credentials.hardware.service import MOST_ENDORSEMENTS
from openimds.credentials.pki.certificates import LeafSubject
from openimds.credentials.remote.host_documents import HostDocuments
from openimds.credentials.remote.host_tokens import HostTokens
from openimds.credentials.remote.mint_service import CONTROL_SIGNS
from openimds.credentials.tokens.arc_challenge import ArcTokens, ChallengeFiles
from openimds.credentials.worker import Worker
from openimds.errors import Error
from openimds.protocol.pending import (
    Endorsement,
    Failed,
    Pending,
    PendingChallenge,
    PendingDocument,
    PendingEndorsement,
    PendingToken,
    Result,
)

Forward: TypeAlias = Callable[[Pending, float], Awaitable[Result]]
"""Has control make a result at a time; raises an `Error` if control does not answer."""

MOST_FORWARDED = 64
"""The most requests that control works on for guests of a host, without tokens."""
MOST_PER_VM = 8
"""The most of one VM among them."""
TIMEOUT_S = 10.0
_UNAVAILABLE, _THROTTLED = Failed("server_error"), Failed("throttled")


class HostCredentials:
    """Provides the results of the data plane's pending work, except events.

    Tokens and attested documents go on while control is away. The challenges of Azure Arc are
    files of this host; the token behind one is that of `tokens`. Control makes the rest, forged
    tokens included, for it has the keys.
    """

    def __init__(
        self,
        tokens: HostTokens,
        documents: HostDocuments,
        forward: Forward,
        worker: Worker,
        challenges: ChallengeFiles | None = None,
    ) -> None:
        """Compose the parts; `forward` has control make the results that no part provides."""
        self.tokens, self.documents, self.worker = tokens, documents, worker
        self._forward = forward
        self._arc = ArcTokens(challenges, worker, tokens) if challenges is not None else None
        self._endorsements: OrderedDict[PendingEndorsement, Endorsement] = OrderedDict()
        self._forwarded: dict[str, int] = {}

    def cached(self, pending: Pending, now_s: float) -> Result | None:
        """Return the cached result of pending work at once, or None."""
        if isinstance(pending, PendingDocument):
            return self.documents.cached(pending, now_s)
        if isinstance(pending, PendingToken) and not pending.proof:
            return self.tokens.cached(pending, now_s)
        if isinstance(pending, PendingEndorsement):
            return self._endorsements.get(_shared(pending))
        return None

    async def make(self, pending: Pending, now_s: float) -> Result:
        """Provide the result of pending work, or the reason why there is none."""
        if isinstance(pending, PendingDocument) and pending.scenario not in CONTROL_SIGNS:
            return await self.documents.make(pending, now_s)
        if isinstance(pending, PendingToken) and not pending.proof:
            return await self.tokens.make(pending, now_s)
        if isinstance(pending, PendingToken | PendingChallenge):
            # Challenges are pending only where there is a folder for them.
            assert self._arc is not None
            return await self._arc.make(pending, now_s)
        result = await self._ask(pending, now_s)
        if isinstance(pending, PendingEndorsement) and isinstance(result, Endorsement):
            self._endorsements[_shared(pending)] = result
            while len(self._endorsements) > MOST_ENDORSEMENTS:
                self._endorsements.popitem(last=False)
        return result

    def place(self, vm: str, now_s: float, tokens: Iterable[PendingToken] = ()) -> None:
        """Fetch ahead the tokens that a new VM asked for lately on another host."""
        self.tokens.prefetch(vm, now_s, tokens)

    def want(self, subjects: Iterable[LeafSubject]) -> None:
        """Have leaves for the subjects of the VMs on this host, ahead of their requests."""
        self.documents.want(subjects)

    def forget(self, vms: AbstractSet[str]) -> None:
        """Evict the tokens of changed VMs; those that they asked for are fetched again."""
        self.tokens.forget(vms)

    def leave(self, vms: AbstractSet[str]) -> None:
        """Forget VMs that are on this host no longer."""
        self.tokens.leave(vms)

    def forget_future(self, now_s: float) -> None:
        """Drop the results that were made after this time: the clock was set back."""
        self.tokens.forget_future(now_s)
        self.documents.forget_future(now_s)

    async def keep_up(self, now_s: float) -> None:
        """Renew tokens and leaves ahead of need; call it every few seconds."""
        self.tokens.renew_due(now_s)
        await self.documents.keep_up(now_s)

    def close(self) -> None:
        """Wait for running jobs, and remove the files of open challenges."""
        self.worker.close()
        if self._arc:
            self._arc.close()

    async def _ask(self, pending: Pending, now_s: float) -> Result:
        """Have control make a result, within bounds."""
        vm, own = pending.vm, self._forwarded.get(pending.vm, 0)
        if own >= MOST_PER_VM or sum(self._forwarded.values()) >= MOST_FORWARDED:
            return _THROTTLED
        self._forwarded[vm] = own + 1
        try:
            return await asyncio.wait_for(self._forward(pending, now_s), TIMEOUT_S)
        except (Error, TimeoutError):
            return _UNAVAILABLE
        finally:
            self._forwarded[vm] -= 1
            if not self._forwarded[vm]:
                del self._forwarded[vm]


def _shared(pending: PendingEndorsement) -> PendingEndorsement:
    """Return the work without its VM: the same processor has the same certificate."""
    return structs.replace(pending, vm="")
