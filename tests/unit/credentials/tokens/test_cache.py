"""Tokens: made once, and kept as long as they live."""

import asyncio
import threading
from hashlib import sha256

import jwt
import pytest
from msgspec.structs import replace

from openimds.credentials.keys.files import KeyFileError
from openimds.credentials.keys.keyring import Keyring
from openimds.credentials.tokens import cache
from openimds.credentials.tokens.cache import TokenCache
from openimds.credentials.worker import Worker
from openimds.facts.faults import FORGERIES
from openimds.protocol.access_token import TokenSettings
from openimds.protocol.pending import AccessToken, Failed, PendingToken
from tests.unit.credentials.tokens.worker_setup import (
    APP,
    EXPIRES_S,
    NEED,
    NOW_S,
    REAL,
    TOO_LONG_S,
    Directory,
    Shop,
    at_work,
    turns,
)


def test_a_token_has_the_times_of_the_recorded_one(ring: Keyring) -> None:
    async def work() -> None:
        got = await Shop(ring).tokens.make(NEED, NOW_S)
        assert isinstance(got, AccessToken)
        assert got == AccessToken(got.text, 1_709_809_297, EXPIRES_S, 86_400)
        said = jwt.decode(got.text, options={"verify_signature": False})
        assert (said["nbf"], said["exp"], said["aud"]) == (1_709_809_297, EXPIRES_S, NEED.resource)

    at_work(work)


def test_a_token_is_kept_until_it_expires(ring: Keyring) -> None:
    async def work() -> None:
        shop = Shop(ring)
        assert shop.tokens.cached(NEED, NOW_S) is None
        first = await shop.text(NEED)
        assert await shop.text(NEED, EXPIRES_S - 0.1) == first
        assert shop.tokens.cached(NEED, EXPIRES_S) is None
        assert await shop.text(NEED, EXPIRES_S) != first
        assert len(shop.tokens) == 1

    at_work(work)


@pytest.mark.parametrize(
    "other",
    [
        replace(NEED, vm="web-2"),
        replace(NEED, resource="https://vault.azure.net/"),
        replace(NEED, identity=replace(APP, client_id="another")),
        *(replace(NEED, identity=replace(APP, source=f"forge:{name}")) for name in FORGERIES),
        REAL,
    ],
)
def test_a_token_is_for_one_vm_identity_source_and_resource(
    ring: Keyring, other: PendingToken
) -> None:
    async def work() -> None:
        shop = Shop(ring, Directory())
        mine, theirs = await shop.text(NEED), await shop.text(other)
        assert mine != theirs
        # Neither is in the other's place, and whoever turns back finds the old one.
        assert (await shop.text(NEED, NOW_S + 9), await shop.text(other, NOW_S + 9)) == (
            mine,
            theirs,
        )

    at_work(work)


def test_who_bypasses_the_cache_gets_a_new_token_and_so_do_those_after(ring: Keyring) -> None:
    async def work() -> None:
        shop = Shop(ring)
        fresh = replace(NEED, is_fresh=True)
        old = await shop.text(NEED)
        new = await shop.text(fresh, NOW_S + 1)
        assert new != old
        assert await shop.text(NEED, NOW_S + 2) == new

    at_work(work)


def test_no_more_tokens_are_kept_than_was_said(ring: Keyring) -> None:
    async def work() -> None:
        shop = Shop(ring, most=2)
        needs = [replace(NEED, vm=name) for name in "abc"]
        for need in needs:
            await shop.text(need)
        assert len(shop.tokens) == 2
        assert [bool(shop.tokens.cached(need, NOW_S)) for need in needs] == [False, True, True]
        # One that was made again is not the oldest any more.
        await shop.text(replace(needs[1], is_fresh=True), NOW_S + 1)
        await shop.text(needs[0], NOW_S + 1)
        assert [bool(shop.tokens.cached(need, NOW_S)) for need in needs] == [True, True, False]

    at_work(work)


def test_all_who_wait_for_one_token_share_one_signature(ring: Keyring) -> None:
    async def work() -> None:
        shop = Shop(ring)
        texts = await asyncio.gather(*(shop.text(NEED) for _ in range(8)))
        assert len({*texts}) == 1
        assert (shop.worker.done, shop.worker.shared) == (1, 7)

    at_work(work)


def test_a_workshop_that_is_busy_makes_429(ring: Keyring) -> None:
    async def work() -> None:
        shop = Shop(ring, worker=Worker(threads=1, most_waiting=0))
        gate = threading.Event()
        busy = asyncio.ensure_future(shop.worker.do("other", lambda: gate.wait(TOO_LONG_S)))
        await turns()
        assert await shop.tokens.make(NEED, NOW_S) == Failed("throttled")
        gate.set()
        assert await busy
        assert await shop.text(NEED)

    at_work(work)


def test_a_key_that_cannot_be_written_is_told_and_no_token_kept(
    ring: Keyring, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_: float) -> None:
        raise KeyFileError("the disk is full")

    async def work() -> None:
        shop = Shop(ring)
        monkeypatch.setattr(ring, "signer", fail)
        with pytest.raises(KeyFileError, match="the disk is full"):
            await shop.tokens.make(NEED, NOW_S)
        assert len(shop.tokens) == 0

    at_work(work)


def test_what_is_forgotten_is_made_again_and_the_rest_is_kept(ring: Keyring) -> None:
    async def work() -> None:
        shop = Shop(ring)
        needs = [replace(NEED, vm=name) for name in "abc"]
        old = [await shop.text(need) for need in needs]
        shop.tokens.forget({"a", "c", "nobody"})
        new = [await shop.text(need, NOW_S + 5) for need in needs]
        assert [was == now for was, now in zip(old, new, strict=True)] == [False, True, False]

    at_work(work)


@pytest.mark.parametrize("need", [NEED, REAL])
def test_what_is_being_made_when_it_is_to_be_forgotten_is_not_kept(
    ring: Keyring, need: PendingToken
) -> None:
    async def work() -> None:
        directory = Directory(is_open=False)
        shop = Shop(ring, directory)
        gate = threading.Event()
        before = asyncio.ensure_future(shop.worker.do("before", lambda: gate.wait(TOO_LONG_S)))
        waiting = asyncio.ensure_future(shop.tokens.make(need, NOW_S))
        await turns()
        shop.tokens.forget({"web-1"})
        gate.set()
        directory.open.set()
        assert isinstance(await waiting, AccessToken)
        assert await before
        assert shop.tokens.cached(need, NOW_S) is None

    at_work(work)


def test_a_vm_that_asks_for_many_pushes_out_its_own_only(ring: Keyring) -> None:
    async def play() -> None:
        tokens = TokenCache(lambda: ring, Worker(), TokenSettings(86400))
        quiet = replace(NEED, vm="quiet")
        await tokens.make(quiet, NOW_S)
        wishes = [replace(NEED, resource=f"https://{n}") for n in range(cache.MAX_PER_VM + 3)]
        for wish in wishes:
            await tokens.make(wish, NOW_S)
        assert len(tokens) == cache.MAX_PER_VM + 1
        assert tokens.cached(quiet, NOW_S) is not None
        assert [tokens.cached(one, NOW_S) is None for one in wishes[:4]] == [
            True,
            True,
            True,
            False,
        ]
        tokens.forget({"web-1"})
        assert len(tokens) == 1

    asyncio.run(play())


def test_an_identity_that_has_become_another_one_gets_a_token_of_its_own(ring: Keyring) -> None:
    async def play() -> None:
        tokens = TokenCache(lambda: ring, Worker(), TokenSettings(86400))
        await tokens.make(NEED, NOW_S)
        for changed in (
            replace(NEED, identity=replace(APP, tenant_id="other")),
            replace(NEED, identity=replace(APP, object_id="other")),
            replace(NEED, identity=replace(APP, carrier="/other")),
            replace(NEED, cloud="AzureChinaCloud"),
        ):
            assert tokens.cached(changed, NOW_S) is None
        assert tokens.cached(NEED, NOW_S) is not None

    asyncio.run(play())


def test_a_token_from_the_future_is_not_given(ring: Keyring) -> None:
    async def play() -> None:
        tokens = TokenCache(lambda: ring, Worker(), TokenSettings(86400))
        made = await tokens.make(NEED, NOW_S)
        assert isinstance(made, AccessToken)
        assert tokens.cached(NEED, made.not_before_s) is made
        assert tokens.cached(NEED, made.not_before_s - 1) is None

    asyncio.run(play())


def test_a_token_that_a_service_refused_is_made_anew(ring: Keyring) -> None:
    async def play() -> None:
        tokens = TokenCache(lambda: ring, Worker(), TokenSettings(86400))
        made = await tokens.make(NEED, NOW_S)
        assert isinstance(made, AccessToken)
        hashed = sha256(made.text.encode()).hexdigest()
        assert tokens.cached(replace(NEED, outdated=hashed), NOW_S) is None
        assert tokens.cached(replace(NEED, outdated="0" * 64), NOW_S) is made

    asyncio.run(play())


def test_a_change_of_one_vm_does_not_keep_anothers_token_from_being_kept(ring: Keyring) -> None:
    async def play() -> None:
        tokens = TokenCache(lambda: ring, Worker(), TokenSettings(86400))
        making = asyncio.create_task(tokens.make(NEED, NOW_S))
        await asyncio.sleep(0)
        tokens.forget({"other"})
        await making
        assert tokens.cached(NEED, NOW_S) is not None

    asyncio.run(play())
