"""The token cache: each token is made once and cached until it expires.

A token belongs to an identity of one VM and to a resource. As in Azure, it stays cached until it
expires even if the VM changes meanwhile (F.4); access is checked before this room is asked. A token
of Entra, or of control on another machine, is fetched again when half its life is over, before it
is missed.
"""

import asyncio
from collections import OrderedDict
from collections.abc import Callable
from collections.abc import Set as AbstractSet
from functools import partial
from hashlib import sha256
from typing import TYPE_CHECKING, Protocol, TypeAlias

from msgspec import Struct

from openimds.credentials.worker import BusyError, Worker
from openimds.facts.tokens import SKEW_S
from openimds.protocol.access_token import TokenSettings, claims
from openimds.protocol.pending import AccessToken, Failed, PendingToken
from openimds.vm.identities import ENTRA, FORGE, Principal

if TYPE_CHECKING:
    from openimds.credentials.keys.keyring import Keyring

MAX_TOKENS = 100_000
"""The most cached tokens; each weighs about 2 kB, and more with claims of the identity's own."""
MAX_PER_VM = 128
"""The most cached tokens of one VM: no guest can evict the tokens of another."""
MAX_BYTES_PER_VM = 524_288
"""The largest size of one VM's tokens with their own claims; a guest may name any resource."""
HALF = 0.5
RETRY_S = 60.0
"""The time between attempts to fetch a successor ahead of time, in seconds."""

_Key: TypeAlias = tuple[str, Principal, str, str]


class TokenSource(Protocol):
    """A source of tokens made elsewhere. It bounds the fetches that run and wait."""

    async def token(self, pending: PendingToken, now_s: float) -> AccessToken | Failed:
        """Return a token, or the refusal for the guest."""
        ...

    def withdraw(self, pending: PendingToken) -> bool:
        """Drop a fetch that has not begun, and tell whether there was one."""
        ...


class CachedToken(Struct):
    """A token, and the times of its making, its successor and its end."""

    token: AccessToken
    made_s: float
    renew_s: float
    steady_end_s: float
    """The end on the steady clock."""


class _TokenFetch:
    """A fetch for callers, or ahead of time: then it goes on without callers."""

    __slots__ = ("callers", "is_ahead", "pending", "task")

    def __init__(
        self, pending: PendingToken, task: "asyncio.Task[AccessToken | Failed]", *, is_ahead: bool
    ) -> None:
        self.pending, self.task, self.is_ahead = pending, task, is_ahead
        self.callers = 0


class FetchedTokens:
    """The tokens of all VMs, fetched from one source. Called on the event loop."""

    def __init__(
        self,
        source: TokenSource | None,
        max_tokens: int = MAX_TOKENS,
        *,
        steady: Callable[[], float] = lambda: 0.0,
        renew_at: Callable[[], float] = lambda: HALF,
    ) -> None:
        """Begin empty; without a source, each fetch gets Azure's 500.

        `steady` is a clock in seconds that is never set: a token is not cached beyond its life by
        it, whichever time the other clock shows. `renew_at` returns the part of a new token's life
        after which its successor is fetched.
        """
        self.made = 0
        self._source, self._max_tokens = source, max_tokens
        self._steady, self._renew_at = steady, renew_at
        self._evictions: dict[str, int] = {}
        self._cached: OrderedDict[_Key, CachedToken] = OrderedDict()
        self._keys: dict[str, OrderedDict[_Key, None]] = {}
        self._fetches: dict[_Key, _TokenFetch] = {}
        self.changed: set[str] | None = None
        """Collects the names of VMs whose cached tokens have changed, where it is a set."""

    @property
    def fetching(self) -> int:
        """The number of fetches that run or wait."""
        return len(self._fetches)

    def cached(self, pending: PendingToken, now_s: float) -> AccessToken | None:
        """Return the cached token, unless it has expired or a fresh one is wanted."""
        if pending.is_fresh:
            return None
        cached = self._cached.get(_key(pending))
        # A token of the future was made before the clock was set back.
        if cached is None or not int(cached.made_s) <= now_s < cached.token.expires_s:
            return None
        if self._steady() >= cached.steady_end_s:
            return None
        if pending.outdated and sha256(cached.token.text.encode()).hexdigest() == pending.outdated:
            return None
        if now_s >= cached.renew_s:
            # A successful fetch caches its own time; a failing one must not be repeated with
            # every request.
            cached.renew_s = now_s + RETRY_S
            self._fetch(pending, now_s, is_ahead=True)
        return cached.token

    async def make(self, pending: PendingToken, now_s: float) -> AccessToken | Failed:
        """Fetch a token and cache it, or return the refusal for the guest."""
        return await self._await_fetch(self._fetch(pending, now_s))

    def renew(self, pending: PendingToken, now_s: float) -> None:
        """Start the fetch of a token that is missing or due, for no caller."""
        if self.cached(pending, now_s) is None:
            self._fetch(pending, now_s, is_ahead=True)

    def forget(self, vms: AbstractSet[str]) -> None:
        """Evict the tokens of some VMs, and do not cache those in the making."""
        for vm in vms:
            self._evictions[vm] = self._evictions.get(vm, 0) + 1
            for key in self._keys.pop(vm, ()):
                del self._cached[key]
                self._note(vm)

    def forget_future(self, now_s: float) -> None:
        """Evict the tokens that were made after this time: the clock was set back."""
        for key in [key for key, cached in self._cached.items() if int(cached.made_s) > now_s]:
            self._drop(key)

    def __len__(self) -> int:
        """Return the number of cached tokens."""
        return len(self._cached)

    def entry(self, pending: PendingToken) -> CachedToken | None:
        """Return a cached token with its times, valid or not."""
        return self._cached.get(_key(pending))

    def adopt(
        self, pending: PendingToken, token: AccessToken, made_s: float, renew_s: float, now_s: float
    ) -> bool:
        """Cache a valid token of an earlier process, and tell whether it was."""
        is_valid = int(made_s) <= now_s < token.expires_s
        if not is_valid or _key(pending) in self._cached:
            return False
        end_s = self._steady() + token.expires_s - now_s
        self._put(pending, CachedToken(token, made_s, renew_s, end_s))
        return True

    def _fetch(self, pending: PendingToken, now_s: float, *, is_ahead: bool = False) -> _TokenFetch:
        """Start or join the fetch of a token."""
        key = _key(pending)
        fetch = self._fetches.get(key)
        if fetch is None:
            task = asyncio.get_running_loop().create_task(self._run_fetch(pending, now_s))
            fetch = self._fetches[key] = _TokenFetch(pending, task, is_ahead=is_ahead)
            task.add_done_callback(partial(self._end, fetch))
        fetch.is_ahead |= is_ahead
        return fetch

    async def _await_fetch(self, fetch: _TokenFetch) -> AccessToken | Failed:
        fetch.callers += 1
        try:
            # A cancelled caller must not cancel the fetch for the others.
            return await asyncio.shield(fetch.task)
        finally:
            fetch.callers -= 1
            is_wanted = fetch.callers or fetch.is_ahead or fetch.task.done()
            if not is_wanted and self._source and self._source.withdraw(fetch.pending):
                self._fetches.pop(_key(fetch.pending), None)

    def _end(self, fetch: _TokenFetch, task: "asyncio.Task[AccessToken | Failed]") -> None:
        if self._fetches.get(_key(fetch.pending)) is fetch:
            del self._fetches[_key(fetch.pending)]
        if not task.cancelled():
            task.exception()  # Retrieved: a fetch ahead of time has no caller that would.

    async def _run_fetch(self, pending: PendingToken, now_s: float) -> AccessToken | Failed:
        if self._source is None:
            return Failed("server_error")
        evictions = self._evictions.get(pending.vm, 0)
        token = await self._source.token(pending, now_s)
        if isinstance(token, AccessToken):
            renew_s = now_s + (token.expires_s - now_s) * self._renew_at()
            self._store(pending, token, now_s, renew_s, evictions)
        return token

    def _store(
        self,
        pending: PendingToken,
        token: AccessToken,
        made_s: float,
        renew_s: float,
        evictions: int,
    ) -> None:
        self.made += 1
        if evictions != self._evictions.get(pending.vm, 0):
            return  # The VM's tokens were evicted meanwhile: return this one, but do not cache it.
        end_s = self._steady() + token.expires_s - made_s
        self._put(pending, CachedToken(token, made_s, renew_s, end_s))

    def _put(self, pending: PendingToken, cached: CachedToken) -> None:
        key = _key(pending)
        self._cached[key] = cached
        self._cached.move_to_end(key)
        self._note(pending.vm)
        own = self._keys.setdefault(pending.vm, OrderedDict())
        own[key] = None
        own.move_to_end(key)
        size = sum(map(self._size, own))
        while len(own) > MAX_PER_VM or (size > MAX_BYTES_PER_VM and len(own) > 1):
            oldest = next(iter(own))
            size -= self._size(oldest)
            self._drop(oldest)
        while len(self._cached) > self._max_tokens:
            self._drop(next(iter(self._cached)))

    def _size(self, key: _Key) -> int:
        _, identity, _, _ = key
        return len(self._cached[key].token.text) + len(identity.own_claims)

    def _note(self, vm: str) -> None:
        if self.changed is not None:
            self.changed.add(vm)

    def _drop(self, key: _Key) -> None:
        self._note(key[0])
        del self._cached[key]
        own = self._keys[key[0]]
        del own[key]
        if not own:
            del self._keys[key[0]]


class TokenCache(FetchedTokens):
    """The tokens of all VMs, signed here or fetched from Entra. Called on the loop."""

    def __init__(  # noqa: PLR0913 - the sources of tokens, their bounds and a clock
        self,
        keyring: "Callable[[], Keyring]",
        worker: Worker,
        settings: TokenSettings,
        entra: TokenSource | None = None,
        max_tokens: int = MAX_TOKENS,
        *,
        steady: Callable[[], float] = lambda: 0.0,
    ) -> None:
        """Begin empty; without `entra`, its identities get Azure's 500."""
        super().__init__(entra, max_tokens, steady=steady)
        self._keyring, self._worker, self._settings = keyring, worker, settings

    async def make(self, pending: PendingToken, now_s: float) -> AccessToken | Failed:
        """Make a token and cache it, or return the refusal for the guest."""
        if pending.identity.source == ENTRA:
            return await super().make(pending, now_s)
        evictions = self._evictions.get(pending.vm, 0)
        token = await self.issue(pending, now_s)
        if isinstance(token, AccessToken):
            self._store(pending, token, now_s, float("inf"), evictions)
        return token

    async def issue(self, pending: PendingToken, now_s: float) -> AccessToken | Failed:
        """Sign a token in a thread, and do not cache it.

        Raises:
            KeyFileError: the first key cannot be written.
        """
        key = ("token", *_key(pending))
        try:
            return await self._worker.run(pending.vm, key, lambda: self.sign(pending, now_s))
        except BusyError:
            return Failed("throttled")

    def sign(self, pending: PendingToken, now_s: float) -> AccessToken:
        """Sign a token with this server's keyring, valid or forged. Call it in a thread.

        Raises:
            KeyFileError: the first key cannot be written.
        """
        # Imported here: a server whose VMs have no identity does not load PyJWT.
        from openimds.credentials.tokens.jwt import forge, sign  # noqa: PLC0415 - see above

        signer = self._keyring().signer(now_s)
        payload, source = claims(pending, self._settings, now_s), pending.identity.source
        if source.startswith(FORGE):
            text = forge(source.removeprefix(FORGE), payload, signer, int(now_s))
        else:
            text = sign(payload, signer)
        issued_s, life_s = int(now_s), self._settings.life_s
        return AccessToken(text, issued_s - SKEW_S, issued_s + life_s, life_s)


def _key(pending: PendingToken) -> _Key:
    # Everything that the claims depend on: a replaced identity must not get the old one's token,
    # and a change between real and forged tokens takes effect at once.
    return pending.vm, pending.identity, pending.cloud, pending.resource
