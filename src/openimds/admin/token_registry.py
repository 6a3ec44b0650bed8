"""The tokens that operators make: their names, roles, ends and hashes, in the store.

The store is that of the fleet, which all controls of a fleet of hosts share: a token that was made
at one control is known to the next one that leads.
"""

import asyncio
import secrets
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from http import HTTPStatus

import msgspec.json
from msgspec import structs

from openimds.admin.lazy_server import CallLater
from openimds.admin.made_token import (
    MOST_TOKENS,
    FormerSecret,
    MadeToken,
    TokenSecret,
    check_token_name,
    still_listed,
    time_of,
    with_a_place,
)
from openimds.admin.problem import ProblemError, not_found
from openimds.admin.roles import Role
from openimds.admin.token import token_digest
from openimds.admin.token_connections import EndConnection, TokenConnections
from openimds.fleet.service import FleetService
from openimds.fleet.store.port import EventBatch, StoreError

TOKENS = "admin-tokens"
"""The key of the tokens in the store."""
USES = "admin-token-uses"
"""The key of the times of their last uses."""
NOTE_USES_S = 600.0
"""The shortest time between two writes of the last uses; so much is lost when a process dies."""
_OCTETS = 32


class TokenRegistry:
    """The tokens in the store, of which a copy is kept here.

    Times are those of the wall clock: the clock of guests can be set by a token that operates.
    """

    def __init__(
        self,
        fleet_service: FleetService,
        wall: Callable[[], float] = time.time,
        call_later: CallLater | None = None,
    ) -> None:
        """Read nothing yet: the first look-up does. `call_later` is by default the loop's."""
        self._fleet_service, self._wall = fleet_service, wall
        self._turn = asyncio.Lock()
        self._tokens: list[MadeToken] = []
        self._by_hash: dict[str, TokenSecret] | None = None
        self._last_uses: dict[str, float] = {}
        self._uses_written_s = float("-inf")
        self._call_later = call_later
        self._connections = TokenConnections(self._left_s, self._later)

    async def find(self, text: str) -> TokenSecret | None:
        """Return the token's secret with this text, if there is one; it may have ended.

        Raises:
            StoreError: the tokens cannot be read.
        """
        return await self.find_digest(token_digest(text))

    async def find_digest(self, digest: str) -> TokenSecret | None:
        """Return the secret with this digest, as `find` does."""
        if self._by_hash is None:
            async with self._turn:
                await self._load()
        assert self._by_hash is not None
        return self._by_hash.get(digest)

    def why_ended(self, secret: TokenSecret) -> str:
        """Return the reason why a secret is not valid at present; empty while it is."""
        return secret.why_ended(self._wall())

    async def all(self) -> list[MadeToken]:
        """Return all tokens by name; expired ones for some days, too.

        Raises:
            StoreError: as `find`.
        """
        async with self._turn:
            await self._load()
            return still_listed(self._tokens, self._wall())

    def is_expired(self, token: MadeToken) -> bool:
        """Tell whether a token has expired at present."""
        return token.is_over(self._wall())

    def former_ends_s(self, token: MadeToken) -> float | None:
        """Return the end of a token's secret before its rotation; None if it is over."""
        former = token.former
        return former.ends_s if former and former.ends_s > self._wall() else None

    def last_used(self, token: MadeToken) -> str | None:
        """Return the time of a token's last use; None before the first one."""
        at_s = self._last_uses.get(token.name)
        return None if at_s is None else time_of(at_s)

    async def add(
        self, name: str, role: Role, by: str, life_s: float | None = None, select: str = ""
    ) -> tuple[MadeToken, str]:
        """Make a token; return it and its text, which is kept nowhere.

        Raises:
            ConfigError: the name does not fit.
            ProblemError: 409, the name is in use, or there are too many tokens.
            StoreError: as `find`, or the token cannot be written.
        """
        check_token_name(name)
        async with self._turn:
            await self._load()
            now_s = self._wall()
            known = still_listed(self._tokens, now_s)
            if any(token.name == name for token in known):
                detail = (
                    f"There is a token {name}; openimds token rotate {name} gives it a new secret, "
                    f"openimds token revoke {name} ends it"
                )
                raise ProblemError(HTTPStatus.CONFLICT, detail)
            left = with_a_place(known, now_s)
            if left is None:
                detail = f"There are {MOST_TOKENS} tokens; revoke one that is not used any more"
                raise ProblemError(HTTPStatus.CONFLICT, detail)
            text = secrets.token_urlsafe(_OCTETS)
            ends_s = None if life_s is None else now_s + life_s
            token = MadeToken(
                name, role, token_digest(text), time_of(now_s), by, life_s, ends_s, select=select
            )
            self._last_uses.pop(name, None)
            await self._write([*left, token])
        return token, text

    async def rotate(
        self,
        name: str,
        overlap_s: float = 0.0,
        life_s: float | None = None,
        own: EndConnection | None = None,
    ) -> tuple[MadeToken, str]:
        """Give a token a new secret; the one before is valid for `overlap_s` more seconds.

        An earlier one ends at once, with its connections, but for the caller's own. The new secret
        is valid for `life_s`, by default as long as the one before was made for.

        Raises:
            ProblemError: 404, there is no such token.
            StoreError: as `add`.
        """
        async with self._turn:
            await self._load()
            now_s = self._wall()
            before = self._named(name, now_s)
            text = secrets.token_urlsafe(_OCTETS)
            life_s = before.life_s if life_s is None else life_s
            until_s = now_s + overlap_s
            token = structs.replace(
                before,
                sha256=token_digest(text),
                life_s=life_s,
                ends_s=None if life_s is None else now_s + life_s,
                rotated=time_of(now_s),
                former=FormerSecret(
                    before.sha256,
                    until_s if before.ends_s is None else min(until_s, before.ends_s),
                ),
            )
            others = [one for one in still_listed(self._tokens, now_s) if one.name != name]
            await self._write([*others, token])
        if before.former:
            self._connections.end(before.former.sha256, own)
        if overlap_s:
            self._connections.watch(before.sha256)
        else:
            self._connections.end(before.sha256, own)
        return token, text

    async def revoke(self, name: str, own: EndConnection | None = None) -> None:
        """Forget a token, and end the connections that showed it, but for the caller's own.

        Raises:
            ProblemError: 404, there is no such token.
            StoreError: as `add`.
        """
        async with self._turn:
            await self._load()
            now_s = self._wall()
            token = self._named(name, now_s)
            listed = still_listed(self._tokens, now_s)
            await self._write([one for one in listed if one.name != name])
        for secret in token.secrets:
            self._connections.end(secret.sha256, own)

    async def note_use(self, secret: TokenSecret, end: EndConnection | None) -> None:
        """Note the time of a use; a connection that showed the secret ends with it.

        The times are written now and then. A store that takes nothing does not delay a token.
        """
        now_s = self._wall()
        self._last_uses[secret.token.name] = now_s
        if end:
            self._connections.note(secret.sha256, end)
        if 0 <= now_s - self._uses_written_s < NOTE_USES_S:
            return
        self._uses_written_s = now_s
        batch = EventBatch(values={USES: msgspec.json.encode(self._last_uses)})
        store = self._fleet_service.store
        with suppress(StoreError):
            await asyncio.shield(self._fleet_service.call_store(store.write_events, batch))

    def _named(self, name: str, now_s: float) -> MadeToken:
        """Return the token of a name.

        Raises:
            ProblemError: 404, there is none.
        """
        for token in still_listed(self._tokens, now_s):
            if token.name == name:
                return token
        raise not_found(f'There is no token "{name[:80]}"; GET /v1/tokens lists them')

    def _left_s(self, sha256: str) -> float | None:
        """Return the seconds until a secret ends; none are left for an unknown one."""
        secret = (self._by_hash or {}).get(sha256)
        return 0.0 if secret is None else secret.left_s(self._wall())

    def _later(self, wait_s: float, call: Callable[[], None]) -> object:
        call_later = self._call_later or asyncio.get_running_loop().call_later
        return call_later(wait_s, call)

    async def _load(self) -> None:
        if self._by_hash is not None:
            return
        call, store = self._fleet_service.call_store, self._fleet_service.store
        body = await call(store.value, TOKENS)
        try:
            tokens = msgspec.json.decode(body or b"[]", type=list[MadeToken])
        except msgspec.DecodeError as error:
            raise StoreError(
                f"the tokens of the admin API in the store cannot be read ({error}); use the "
                "token file, and restore a backup of the store"
            ) from None
        uses = await call(store.value, USES)
        with suppress(msgspec.DecodeError):  # A damaged time is no reason to refuse a token.
            self._last_uses = msgspec.json.decode(uses or b"{}", type=dict[str, float])
        self._keep(tokens)

    def _keep(self, tokens: Iterable[MadeToken]) -> None:
        self._tokens = [*tokens]
        self._by_hash = {one.sha256: one for token in self._tokens for one in token.secrets}

    async def _write(self, tokens: list[MadeToken]) -> None:
        batch = EventBatch(values={TOKENS: msgspec.json.encode(tokens)})
        store = self._fleet_service.store
        # Shielded: a caller who disconnects does not part the copy from the store.
        await asyncio.shield(self._fleet_service.call_store(store.write_events, batch))
        self._keep(tokens)
        names = {token.name for token in tokens}
        self._last_uses = {key: at for key, at in self._last_uses.items() if key in names}
