"""The tokens of a host's guests: made by control, cached, and renewed ahead."""

from collections.abc import Callable, Iterable
from collections.abc import Set as AbstractSet

from openimds.credentials.remote.asked_tokens import ASKED_S, AskedTokens
from openimds.credentials.remote.control_tokens import ControlTokens, Mint
from openimds.credentials.remote.kept_tokens import KeptToken
from openimds.credentials.tokens.cache import HALF, FetchedTokens
from openimds.protocol.pending import AccessToken, Failed, PendingToken
from openimds.vm.identities import FORGE

SPREAD = 0.1
"""The part of a token's life over which renewals are spread before its half."""
MOST_AHEAD = 32
"""The number of fetches beyond which no renewal begins: the places of guests stay free."""
MOST_VMS_PER_TURN = 1_000
"""The most VMs whose tokens one call of `renew_due` looks at."""


class HostTokens:
    """The tokens of all VMs of a host. Called on the event loop.

    A token that a VM asked for in the last day is renewed without a further request; so guests go
    on while control is away, for at least the half of a token's life.
    """

    def __init__(
        self,
        mint: Mint,
        *,
        steady: Callable[[], float],
        jitter: Callable[[], float],
        life_clock: Callable[[], float] | None = None,
    ) -> None:
        """Ask control by `mint`.

        `steady` is a clock in seconds that is never set; the lives of tokens end by `life_clock`,
        too, which is `steady` unless the time of guests is virtual. `jitter` returns a number from
        0 to 1 that keeps hosts from asking at the same time.
        """
        self._asked = AskedTokens()
        self._source = ControlTokens(mint, steady=steady, on_refusal=self._asked.forget)
        self._cache = FetchedTokens(
            self._source,
            steady=life_clock or steady,
            renew_at=lambda: HALF - SPREAD * jitter(),
        )
        self._cache.changed = set()

    def cached(self, pending: PendingToken, now_s: float) -> AccessToken | None:
        """Return the cached token, unless it has expired or a fresh one is wanted."""
        token = self._cache.cached(pending, now_s)
        if token is not None:
            self._asked.note(pending, now_s)
        return token

    async def make(self, pending: PendingToken, now_s: float) -> AccessToken | Failed:
        """Return a token of control, or the refusal for the guest."""
        result = await self._cache.make(pending, now_s)
        if isinstance(result, AccessToken):
            self._asked.note(pending, now_s)
        return result

    def prefetch(self, vm: str, now_s: float, wanted: Iterable[PendingToken] = ()) -> None:
        """Fetch the tokens that a VM asked for lately.

        `wanted` are those of another host, from which the VM has come.
        """
        for pending in wanted:
            self._asked.note(pending, now_s)
        if self._cache.fetching < MOST_AHEAD:  # Else `renew_due` comes to it.
            self._renew(vm, now_s)

    def renew_due(self, now_s: float) -> None:
        """Renew tokens of which half the life is over; call it every few seconds."""
        if self._source.seems_away() or self._cache.fetching >= MOST_AHEAD:
            return
        for vm in self._asked.take_turns(MOST_VMS_PER_TURN):
            self._renew(vm, now_s)
            if self._cache.fetching >= MOST_AHEAD:
                return

    def adopt(self, kept: Iterable[KeptToken], now_s: float) -> None:
        """Take the valid tokens of an earlier process, asked for when they were."""
        for one in kept:
            asked_s = min(one.asked_s, now_s)
            if now_s - asked_s <= ASKED_S and self._cache.adopt(
                one.pending, one.token, one.made_s, one.renew_s, now_s
            ):
                self._asked.note(one.pending, asked_s)

    def kept(self, vm: str) -> tuple[KeptToken, ...]:
        """Return the tokens of a VM to keep over a restart: no forged ones."""
        found = []
        for pending, asked_s in self._asked.times(vm).items():
            entry = self._cache.entry(pending)
            if entry and not pending.identity.source.startswith(FORGE):
                times = entry.made_s, entry.renew_s, asked_s
                found.append(KeptToken(pending, entry.token, *times))
        return tuple(found)

    def take_changed(self) -> AbstractSet[str]:
        """Return the names of VMs whose tokens have changed since the last call."""
        changed, self._cache.changed = self._cache.changed, set()
        return changed or frozenset()

    def forget(self, vms: AbstractSet[str]) -> None:
        """Evict the tokens of some VMs; those that they asked for are fetched again."""
        self._cache.forget(vms)

    def leave(self, vms: AbstractSet[str]) -> None:
        """Forget VMs that are on this host no longer, and their tokens."""
        self._cache.forget(vms)
        for vm in vms:
            self._asked.forget_vm(vm)

    def asked(self, vm: str, now_s: float) -> list[PendingToken]:
        """Return the tokens that a VM asked for in the last day."""
        return self._asked.of(vm, now_s)

    def forget_future(self, now_s: float) -> None:
        """Evict the tokens that were made after this time: the clock was set back."""
        self._cache.forget_future(now_s)
        self._asked.forget_future(now_s)

    def _renew(self, vm: str, now_s: float) -> None:
        for pending in self._asked.of(vm, now_s):
            self._cache.renew(pending, now_s)
