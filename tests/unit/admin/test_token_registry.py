"""The made tokens: their bound, their store, and the end of their connections."""

import asyncio
import gc
import hashlib
from collections.abc import Callable
from pathlib import Path

import msgspec.json
import pytest

from openimds.admin.made_token import EXPIRED_KEPT_S, MOST_TOKENS, MadeToken, TokenSecret
from openimds.admin.problem import ProblemError
from openimds.admin.roles import Role
from openimds.admin.token import token_digest
from openimds.admin.token_connections import LONGEST_TIMER_S
from openimds.admin.token_registry import NOTE_USES_S, TOKENS, USES, TokenRegistry
from openimds.errors import ConfigError
from openimds.fleet.store.port import EventBatch, StoreError
from tests.unit.admin.setup import AdminServer, with_server


class OpenConnection:
    """A connection that can be ended."""

    def __init__(self) -> None:
        self.ended = asyncio.Event()

    @property
    def is_ended(self) -> bool:
        return self.ended.is_set()

    def end(self) -> None:
        self.ended.set()


def test_store_has_the_token_digest_a_token_alone(tmp_path: Path) -> None:
    async def work(server: AdminServer) -> None:
        made, text = await server.tokens.add("ci", Role.READ, "api 10.0.0.1")
        assert len(text) == 43, "32 octets in base64"
        stored = server.store.value(TOKENS)
        assert stored
        assert text.encode() not in stored
        assert made == MadeToken(
            name="ci",
            role=Role.READ,
            sha256=hashlib.sha256(text.encode()).hexdigest(),
            made="2026-11-22T19:54:46.000+00:00",
            by="api 10.0.0.1",
        )
        assert msgspec.json.decode(stored, type=list[MadeToken]) == [made]
        assert await server.tokens.find(text) == made.secrets[0]
        assert await server.tokens.find(f"{text}x") is None

    with_server(tmp_path, work)


def test_tokens_are_known_to_the_next_registry(tmp_path: Path) -> None:
    async def work(server: AdminServer) -> None:
        _, text = await server.tokens.add("ci", Role.READ, "test")
        after_restart = TokenRegistry(server.fleet_service)
        found = await after_restart.find(text)
        assert found
        assert found.token.name == "ci"
        await after_restart.revoke("ci")
        assert await TokenRegistry(server.fleet_service).find(text) is None

    with_server(tmp_path, work)


def test_tokens_have_a_bound(tmp_path: Path) -> None:
    async def work(server: AdminServer) -> None:
        full = [MadeToken(f"t{n:04}", Role.READ, f"{n:064}", "", "") for n in range(MOST_TOKENS)]
        server.store.write_events(EventBatch(values={TOKENS: msgspec.json.encode(full)}))
        with pytest.raises(ProblemError, match=f"There are {MOST_TOKENS} tokens; revoke one"):
            await server.tokens.add("ci", Role.READ, "test")
        await server.tokens.revoke("t0007")
        await server.tokens.add("ci", Role.READ, "test")
        names = [token.name for token in await server.tokens.all()]
        assert (len(names), names[0]) == (MOST_TOKENS, "ci")

    with_server(tmp_path, work)


def test_name_is_given_once(tmp_path: Path) -> None:
    async def work(server: AdminServer) -> None:
        await server.tokens.add("ci", Role.READ, "test")
        with pytest.raises(
            ProblemError, match="There is a token ci; openimds token rotate ci gives"
        ):
            await server.tokens.add("ci", Role.ADMIN, "test")
        with pytest.raises(ProblemError, match='There is no token "cd"'):
            await server.tokens.revoke("cd")

    with_server(tmp_path, work)


@pytest.mark.parametrize("name", ["", "local", "a b", "-a", "a\n", "é", "a" * 65])
def test_name_that_does_not_fit_is_refused(tmp_path: Path, name: str) -> None:
    async def work(server: AdminServer) -> None:
        with pytest.raises(ConfigError, match=r"^name: saw "):
            await server.tokens.add(name, Role.READ, "test")

    with_server(tmp_path, work)


def test_damaged_tokens_are_an_error_with_a_remedy(tmp_path: Path) -> None:
    async def work(server: AdminServer) -> None:
        server.store.write_events(EventBatch(values={TOKENS: b'[{"name": 1}]'}))
        with pytest.raises(StoreError, match=r"cannot be read .*; use the token file, and restore"):
            await server.tokens.find("x")
        server.store.write_events(EventBatch(values={TOKENS: b"[]"}))
        assert await server.tokens.find("x") is None

    with_server(tmp_path, work)


def test_token_that_is_not_written_is_no_token(tmp_path: Path) -> None:
    async def work(server: AdminServer) -> None:
        _, text = await server.tokens.add("ci", Role.READ, "test")
        server.store.fails = {"write_events"}
        with pytest.raises(StoreError):
            await server.tokens.add("cd", Role.READ, "test")
        with pytest.raises(StoreError):
            await server.tokens.revoke("ci")
        assert [token.name for token in await server.tokens.all()] == ["ci"]
        assert await server.tokens.find(text)

    with_server(tmp_path, work)


def test_revocation_ends_the_connections_of_a_token(tmp_path: Path) -> None:
    async def work(server: AdminServer) -> None:
        secret, other = [await made(server, name) for name in ("ci", "other")]
        feed, own, others, gone = (OpenConnection() for _ in range(4))
        for connection in (feed, feed, own, gone):
            await server.tokens.note_use(secret, connection.end)
        await server.tokens.note_use(other, others.end)
        ends = server.tokens._connections._ends
        del gone, connection
        gc.collect()
        assert len(ends[secret.sha256]) == 2, "a closed connection is forgotten"
        await server.tokens.revoke("ci", own.end)
        assert (feed.is_ended, own.is_ended, others.is_ended) == (True, False, False)
        assert secret.sha256 not in ends

    with_server(tmp_path, work)


async def made(server: AdminServer, name: str, life_s: float | None = None) -> TokenSecret:
    """Make a token, and return its secret as `find` does."""
    _, text = await server.tokens.add(name, Role.READ, "test", life_s)
    found = await server.tokens.find(text)
    assert found
    return found


def test_expired_token_is_listed_then_forgotten(tmp_path: Path) -> None:
    async def work(server: AdminServer) -> None:
        secret = await made(server, "ci", 60)
        assert server.tokens.why_ended(secret) == ""
        server.now_s += 60
        assert server.tokens.why_ended(secret) == (
            "The token ci expired at 2026-11-22T19:55:46.000+00:00. Ask for a new secret: openimds "
            "token rotate ci, with a token of the role admin"
        )
        (listed,) = await server.tokens.all()
        assert server.tokens.is_expired(listed)
        server.now_s += EXPIRED_KEPT_S - 1
        assert await server.tokens.all() == [listed]
        server.now_s += 1
        assert await server.tokens.all() == []
        await made(server, "ci")
        stored = msgspec.json.decode(server.store.value(TOKENS) or b"", type=list[MadeToken])
        assert [token.ends_s for token in stored] == [None], "the next write forgets it"

    with_server(tmp_path, work)


def test_token_that_expired_first_gives_its_place(tmp_path: Path) -> None:
    async def work(server: AdminServer) -> None:
        full = [
            MadeToken(f"t{n:04}", Role.READ, f"{n:064}", "", "", 60, server.now_s - n)
            for n in range(2)
        ] + [MadeToken(f"u{n:04}", Role.READ, f"9{n:063}", "", "") for n in range(MOST_TOKENS - 2)]
        server.store.write_events(EventBatch(values={TOKENS: msgspec.json.encode(full)}))
        await server.tokens.add("a", Role.READ, "test")
        names = {token.name for token in await server.tokens.all()}
        assert len(names) == MOST_TOKENS
        assert "t0001" not in names
        assert "t0000" in names
        await server.tokens.add("b", Role.READ, "test")
        with pytest.raises(ProblemError, match=f"There are {MOST_TOKENS} tokens; revoke one"):
            await server.tokens.add("c", Role.READ, "test")

    with_server(tmp_path, work)


def test_rotation_keeps_the_secret_before_for_a_time(tmp_path: Path) -> None:
    async def work(server: AdminServer) -> None:
        _, first = await server.tokens.add("ci", Role.READ, "test", 1000)
        server.now_s += 900
        token, second = await server.tokens.rotate("ci", overlap_s=3600)
        assert first != second
        assert (token.ends_s, token.life_s) == (server.now_s + 1000, 1000)
        former, newest = await server.tokens.find(first), await server.tokens.find(second)
        assert former
        assert newest
        assert former.token == newest.token == token
        assert former.ends_s == server.now_s + 100, "it ends no later than without a rotation"
        assert server.tokens.why_ended(former) == ""
        assert server.tokens.former_ends_s(token) == former.ends_s
        server.now_s += 100
        assert server.tokens.former_ends_s(token) is None
        assert server.tokens.why_ended(former).startswith("This secret of the token ci was replac")
        assert server.tokens.why_ended(newest) == ""
        server.now_s += 1000
        assert server.tokens.why_ended(former).startswith("The token ci expired at ")
        _, third = await server.tokens.rotate("ci", life_s=60)
        assert await server.tokens.find(first) is None, "a second rotation forgets the first"
        again = await TokenRegistry(server.fleet_service, lambda: server.now_s).find(third)
        assert again
        assert again.left_s(server.now_s) == 60
        with pytest.raises(ProblemError, match='There is no token "cd"'):
            await server.tokens.rotate("cd")

    with_server(tmp_path, work)


def test_token_without_an_end_stays_so_when_rotated(tmp_path: Path) -> None:
    async def work(server: AdminServer) -> None:
        _, first = await server.tokens.add("ci", Role.READ, "test")
        token, _ = await server.tokens.rotate("ci", overlap_s=60)
        assert token.ends_s is None
        former = await server.tokens.find(first)
        assert former
        assert former.ends_s == server.now_s + 60

    with_server(tmp_path, work)


def test_connections_end_with_their_secret(tmp_path: Path) -> None:
    async def work(server: AdminServer) -> None:
        timers: list[tuple[float, Callable[[], None]]] = []
        tokens = server.tokens = TokenRegistry(
            server.fleet_service, lambda: server.now_s, lambda *timer: timers.append(timer)
        )
        secret = await made(server, "ci", 3 * LONGEST_TIMER_S / 2)
        feed = OpenConnection()
        for _ in range(3):
            await tokens.note_use(secret, feed.end)
        ((wait_s, look),) = timers
        assert wait_s == LONGEST_TIMER_S
        server.now_s += wait_s
        look()
        assert not feed.is_ended
        wait_s, look = timers[-1]
        assert wait_s == LONGEST_TIMER_S / 2
        server.now_s += wait_s
        look()
        assert feed.ended.is_set()
        assert len(timers) == 2, "no timer is left"

    with_server(tmp_path, work)


def test_rotation_ends_old_connections_after_its_overlap(tmp_path: Path) -> None:
    async def work(server: AdminServer) -> None:
        timers: list[tuple[float, Callable[[], None]]] = []
        tokens = server.tokens = TokenRegistry(
            server.fleet_service, lambda: server.now_s, lambda *timer: timers.append(timer)
        )
        first = await made(server, "ci")
        feed, own = OpenConnection(), OpenConnection()
        await tokens.note_use(first, feed.end)
        assert timers == []
        await tokens.rotate("ci", overlap_s=60)
        ((wait_s, look),) = timers
        assert wait_s == 60
        server.now_s += 60
        look()
        assert feed.is_ended
        second = (await tokens.all())[0].secrets[0]
        for connection in (own, again := OpenConnection()):
            await tokens.note_use(second, connection.end)
        await tokens.rotate("ci", own=own.end)
        assert (own.is_ended, again.is_ended) == (False, True)

    with_server(tmp_path, work)


def test_last_use_is_written_now_and_then(tmp_path: Path) -> None:
    async def work(server: AdminServer) -> None:
        tokens, secret = server.tokens, await made(server, "ci")
        assert tokens.last_used(secret.token) is None
        server.store.fails = {"write_events"}
        await tokens.note_use(secret, None)
        assert tokens.last_used(secret.token) == "2026-11-22T19:54:46.000+00:00"
        server.store.fails.clear()
        server.now_s += NOTE_USES_S - 1
        await tokens.note_use(secret, None)
        assert server.store.value(USES) is None, "the failure counts as a write"
        server.now_s += 1
        await tokens.note_use(secret, None)
        assert msgspec.json.decode(server.store.value(USES) or b"") == {"ci": server.now_s}
        later = TokenRegistry(server.fleet_service, lambda: server.now_s)
        await later.all()
        assert later.last_used(secret.token) == tokens.last_used(secret.token)
        await later.revoke("ci")
        await later.add("ci", Role.READ, "test")
        assert later.last_used(secret.token) is None, "a new token of the name is unused"

    with_server(tmp_path, work)


def test_damaged_times_of_uses_refuse_no_token(tmp_path: Path) -> None:
    async def work(server: AdminServer) -> None:
        server.store.write_events(EventBatch(values={USES: b"[]"}))
        secret = await made(server, "ci")
        assert server.tokens.last_used(secret.token) is None

    with_server(tmp_path, work)


def test_timers_are_those_of_the_running_loop(tmp_path: Path) -> None:
    async def work(server: AdminServer) -> None:
        secret, feed = await made(server, "ci", 60), OpenConnection()
        server.now_s += 61
        await server.tokens.note_use(secret, feed.end)
        await asyncio.wait_for(feed.ended.wait(), 30)

    with_server(tmp_path, work)


def test_token_texts_are_compared_by_their_hash() -> None:
    assert token_digest("a") == hashlib.sha256(b"a").hexdigest()
