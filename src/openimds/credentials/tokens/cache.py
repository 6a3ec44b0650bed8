"""Tokens, each made once and kept as long as it lives.

A token belongs to an identity of one VM and to a resource. As Azure does, it is kept until it
expires, whatever becomes of the VM meanwhile (F.4); who may have it is decided before anybody asks
here. What comes from elsewhere is fetched again when half its life is over, before it is missed.
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
"""TokenCache kept, at most; each weighs about 2 kB."""
MAX_PER_VM = 128
"""TokenCache kept for one VM, at most: no guest can push out what the others have."""
RETRY_S = 60.0
"""How long after a fetch ahead of time, which may have failed, the next one is tried."""

_Key: TypeAlias = tuple[str, Principal, str, str]


class TokenSource(Protocol):
    """A source of real tokens."""

    async def token(self, need: PendingToken, now_s: float) -> AccessToken | Failed:
        """Return a token, or why there is none."""
        ...


class _CachedToken(Struct):
    """A token, and when to fetch the next one."""

    token: AccessToken
    renew_s: float


class TokenCache:
    """The tokens of all VMs. Called on the event loop."""

    def __init__(
        self,
        keyring: "Callable[[], Keyring]",
        worker: Worker,
        terms: TokenSettings,
        elsewhere: TokenSource | None = None,
        most: int = MAX_TOKENS,
    ) -> None:
        """Begin without tokens; keep at most so many."""
        self.made = 0
        self._keyring, self._worker, self._terms = keyring, worker, terms
        self._elsewhere = elsewhere
        self._most = most
        self._forgets: dict[str, int] = {}
        self._held: OrderedDict[_Key, _CachedToken] = OrderedDict()
        self._keys: dict[str, OrderedDict[_Key, None]] = {}
        self._fetches: dict[_Key, asyncio.Task[AccessToken | Failed]] = {}

    def cached(self, need: PendingToken, now_s: float) -> AccessToken | None:
        """Return the token that is kept, unless it is over or a fresh one is wanted."""
        if need.is_fresh:
            return None
        held = self._held.get(_key(need))
        # One that is not valid yet was made before the clock was set back.
        if held is None or not held.token.not_before_s <= now_s < held.token.expires_s:
            return None
        if need.outdated and sha256(held.token.text.encode()).hexdigest() == need.outdated:
            return None
        if now_s >= held.renew_s:
            # The fetch that comes back sets another time; one that fails must not be made again
            # with every request.
            held.renew_s = now_s + RETRY_S
            self._fetch(need, now_s)
        return held.token

    async def make(self, need: PendingToken, now_s: float) -> AccessToken | Failed:
        """Return a new token and keep it, or say why there is none."""
        if need.identity.source == ENTRA:
            fetch = self._fetch(need, now_s)
            # A caller who goes away does not take the fetch from the others.
            return await asyncio.shield(fetch) if fetch else Failed("throttled")
        begun = self._forgets.get(need.vm, 0)
        try:
            token = await self._worker.do(("token", *_key(need)), lambda: self.sign(need, now_s))
        except BusyError:
            return Failed("throttled")
        self._keep(need, token, float("inf"), begun)
        return token

    def sign(self, need: PendingToken, now_s: float) -> AccessToken:
        """Return a token of our own, good or forged. This takes a while: call it in a thread.

        Raises:
            KeyFileError: the first key could not be written.
        """
        # Imported here: a server whose VMs have no identity does not load PyJWT.
        from openimds.credentials.tokens.jwt import forge, sign  # noqa: PLC0415 - see above

        signer = self._keyring().signer(now_s)
        said, source = claims(need, self._terms, now_s), need.identity.source
        if source.startswith(FORGE):
            text = forge(source.removeprefix(FORGE), said, signer, int(now_s))
        else:
            text = sign(said, signer)
        made_s = int(now_s)
        return AccessToken(text, made_s - SKEW_S, made_s + self._terms.life_s, self._terms.life_s)

    def forget(self, vms: AbstractSet[str]) -> None:
        """Let go of the tokens of some VMs, and keep none that is being made meanwhile."""
        for vm in vms:
            self._forgets[vm] = self._forgets.get(vm, 0) + 1
            for key in self._keys.pop(vm, ()):
                del self._held[key]

    def __len__(self) -> int:
        """Return how many tokens are kept."""
        return len(self._held)

    def _fetch(
        self, need: PendingToken, now_s: float
    ) -> "asyncio.Task[AccessToken | Failed] | None":
        """Return the one fetch of this token that is under way, or None: there are too many."""
        key = _key(need)
        task = self._fetches.get(key)
        if task is None and len(self._fetches) < _MAX_FETCHES:
            loop = asyncio.get_running_loop()
            task = self._fetches[key] = loop.create_task(self._fetched(need, now_s))
            task.add_done_callback(partial(self._end, key))
        return task

    def _end(self, key: _Key, task: "asyncio.Task[AccessToken | Failed]") -> None:
        del self._fetches[key]
        if not task.cancelled():
            task.exception()  # Looked at: of a fetch ahead of time nobody else does.

    async def _fetched(self, need: PendingToken, now_s: float) -> AccessToken | Failed:
        if self._elsewhere is None:
            return Failed("server_error")
        begun = self._forgets.get(need.vm, 0)
        got = await self._elsewhere.token(need, now_s)
        if isinstance(got, AccessToken):
            self._keep(need, got, now_s + (got.expires_s - now_s) / 2, begun)
        return got

    def _keep(self, need: PendingToken, token: AccessToken, renew_s: float, begun: int) -> None:
        self.made += 1
        if begun != self._forgets.get(need.vm, 0):
            return  # Made of a VM as it was: the caller may have it, and nobody after.
        key = _key(need)
        self._held[key] = _CachedToken(token, renew_s)
        self._held.move_to_end(key)
        own = self._keys.setdefault(need.vm, OrderedDict())
        own[key] = None
        own.move_to_end(key)
        if len(own) > MAX_PER_VM:
            self._drop(next(iter(own)))
        while len(self._held) > self._most:
            self._drop(next(iter(self._held)))

    def _drop(self, key: _Key) -> None:
        del self._held[key]
        own = self._keys[key[0]]
        del own[key]
        if not own:
            del self._keys[key[0]]


_MAX_FETCHES = 256


def _key(need: PendingToken) -> _Key:
    # All that a token says: an identity that is another one by now must not get the old one's, and
    # a forged token must not outlive the wish for it, nor a real one.
    return need.vm, need.identity, need.cloud, need.resource
