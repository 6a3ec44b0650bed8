"""The token cache: tokens are made once and cached until they expire."""

import asyncio
import json
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
from tests.unit.credentials.tokens.cache_setup import (
    APP,
    EXPIRES_S,
    NOW_S,
    PENDING,
    REAL,
    TOO_LONG_S,
    CacheSetup,
    FakeEntra,
    run_async,
    turns,
)


def test_token_has_the_times_of_the_recorded_one(ring: Keyring) -> None:
    async def scenario() -> None:
        token = await CacheSetup(ring).tokens.make(PENDING, NOW_S)
        assert isinstance(token, AccessToken)
        assert token == AccessToken(token.text, 1_709_809_297, EXPIRES_S, 86_400)
        claims = jwt.decode(token.text, options={"verify_signature": False})
        assert (claims["nbf"], claims["exp"], claims["aud"]) == (
            1_709_809_297,
            EXPIRES_S,
            PENDING.resource,
        )

    run_async(scenario)


def test_token_is_cached_until_it_expires(ring: Keyring) -> None:
    async def scenario() -> None:
        setup = CacheSetup(ring)
        assert setup.tokens.cached(PENDING, NOW_S) is None
        first = await setup.text(PENDING)
        assert await setup.text(PENDING, EXPIRES_S - 0.1) == first
        assert setup.tokens.cached(PENDING, EXPIRES_S) is None
        assert await setup.text(PENDING, EXPIRES_S) != first
        assert len(setup.tokens) == 1

    run_async(scenario)


def test_token_of_the_future_is_not_returned(ring: Keyring) -> None:
    async def scenario() -> None:
        setup = CacheSetup(ring)
        await setup.text(PENDING)
        assert setup.tokens.cached(PENDING, NOW_S) is not None
        assert setup.tokens.cached(PENDING, int(NOW_S) - 0.1) is None
        setup.tokens.forget_future(NOW_S)
        assert len(setup.tokens) == 1
        setup.tokens.forget_future(int(NOW_S) - 0.1)
        assert len(setup.tokens) == 0

    run_async(scenario)


def test_token_of_a_clock_set_back_ends_with_its_life(ring: Keyring) -> None:
    async def scenario() -> None:
        steady = iter([1000.0, 1000.0 + 86_399, 1000.0 + 86_400])
        setup = CacheSetup(ring, steady=lambda: next(steady))
        await setup.tokens.make(PENDING, NOW_S)
        assert setup.tokens.cached(PENDING, NOW_S + 1) is not None
        assert setup.tokens.cached(PENDING, NOW_S + 1) is None

    run_async(scenario)


@pytest.mark.parametrize(
    "other",
    [
        replace(PENDING, vm="web-2"),
        replace(PENDING, resource="https://vault.azure.net/"),
        replace(PENDING, identity=replace(APP, client_id="another")),
        *(replace(PENDING, identity=replace(APP, source=f"forge:{name}")) for name in FORGERIES),
        REAL,
    ],
)
def test_token_belongs_to_a_vm_identity_source_and_resource(
    ring: Keyring, other: PendingToken
) -> None:
    async def scenario() -> None:
        setup = CacheSetup(ring, FakeEntra())
        mine, theirs = await setup.text(PENDING), await setup.text(other)
        assert mine != theirs
        # Neither token replaced the other: both are still cached.
        assert (await setup.text(PENDING, NOW_S + 9), await setup.text(other, NOW_S + 9)) == (
            mine,
            theirs,
        )

    run_async(scenario)


def test_fresh_token_replaces_the_cached_one(ring: Keyring) -> None:
    async def scenario() -> None:
        setup = CacheSetup(ring)
        fresh = replace(PENDING, is_fresh=True)
        old = await setup.text(PENDING)
        new = await setup.text(fresh, NOW_S + 1)
        assert new != old
        assert await setup.text(PENDING, NOW_S + 2) == new

    run_async(scenario)


def test_cache_evicts_the_oldest_token_beyond_its_limit(ring: Keyring) -> None:
    async def scenario() -> None:
        setup = CacheSetup(ring, max_tokens=2)
        items = [replace(PENDING, vm=name) for name in "abc"]
        for pending in items:
            await setup.text(pending)
        assert len(setup.tokens) == 2
        assert [bool(setup.tokens.cached(pending, NOW_S)) for pending in items] == [
            False,
            True,
            True,
        ]
        # A remade token counts as the newest.
        await setup.text(replace(items[1], is_fresh=True), NOW_S + 1)
        await setup.text(items[0], NOW_S + 1)
        assert [bool(setup.tokens.cached(pending, NOW_S + 1)) for pending in items] == [
            True,
            True,
            False,
        ]

    run_async(scenario)


def test_concurrent_callers_share_one_signature(ring: Keyring) -> None:
    async def scenario() -> None:
        setup = CacheSetup(ring)
        texts = await asyncio.gather(*(setup.text(PENDING) for _ in range(8)))
        assert len({*texts}) == 1
        assert (setup.worker.done, setup.worker.shared) == (1, 7)

    run_async(scenario)


def test_busy_worker_fails_as_throttled(ring: Keyring) -> None:
    async def scenario() -> None:
        setup = CacheSetup(ring, worker=Worker(threads=1, most_waiting=0))
        gate = threading.Event()
        busy = asyncio.ensure_future(
            setup.worker.run("web-2", "other", lambda: gate.wait(TOO_LONG_S))
        )
        await turns()
        assert await setup.tokens.make(PENDING, NOW_S) == Failed("throttled")
        gate.set()
        assert await busy
        assert await setup.text(PENDING)

    run_async(scenario)


def test_unwritable_key_raises_and_caches_nothing(
    ring: Keyring, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_: float) -> None:
        raise KeyFileError("the disk is full")

    async def scenario() -> None:
        setup = CacheSetup(ring)
        monkeypatch.setattr(ring, "signer", fail)
        with pytest.raises(KeyFileError, match="the disk is full"):
            await setup.tokens.make(PENDING, NOW_S)
        assert len(setup.tokens) == 0

    run_async(scenario)


def test_forget_evicts_tokens_of_the_named_vms_only(ring: Keyring) -> None:
    async def scenario() -> None:
        setup = CacheSetup(ring)
        items = [replace(PENDING, vm=name) for name in "abc"]
        old = [await setup.text(pending) for pending in items]
        setup.tokens.forget({"a", "c", "nobody"})
        new = [await setup.text(pending, NOW_S + 5) for pending in items]
        assert [before == after for before, after in zip(old, new, strict=True)] == [
            False,
            True,
            False,
        ]

    run_async(scenario)


@pytest.mark.parametrize("pending", [PENDING, REAL])
def test_token_in_the_making_is_not_cached_after_forget(
    ring: Keyring, pending: PendingToken
) -> None:
    async def scenario() -> None:
        entra = FakeEntra(is_open=False)
        setup = CacheSetup(ring, entra)
        gate = threading.Event()
        before = asyncio.ensure_future(
            setup.worker.run("web-2", "before", lambda: gate.wait(TOO_LONG_S))
        )
        waiting = asyncio.ensure_future(setup.tokens.make(pending, NOW_S))
        await turns()
        setup.tokens.forget({"web-1"})
        gate.set()
        entra.open.set()
        assert isinstance(await waiting, AccessToken)
        assert await before
        assert setup.tokens.cached(pending, NOW_S) is None

    run_async(scenario)


def test_vm_beyond_its_limit_evicts_its_own_tokens_only(ring: Keyring) -> None:
    async def scenario() -> None:
        tokens = TokenCache(lambda: ring, Worker(), TokenSettings(86400))
        quiet = replace(PENDING, vm="quiet")
        await tokens.make(quiet, NOW_S)
        busy = [replace(PENDING, resource=f"https://{n}") for n in range(cache.MAX_PER_VM + 3)]
        for pending in busy:
            await tokens.make(pending, NOW_S)
        assert len(tokens) == cache.MAX_PER_VM + 1
        assert tokens.cached(quiet, NOW_S) is not None
        assert [tokens.cached(item, NOW_S) is None for item in busy[:4]] == [
            True,
            True,
            True,
            False,
        ]
        tokens.forget({"web-1"})
        assert len(tokens) == 1

    asyncio.run(scenario())


def test_large_tokens_of_a_vm_are_cached_up_to_their_bytes(ring: Keyring) -> None:
    claims = json.dumps({"x": "x" * 16_000}).encode()

    async def scenario() -> None:
        tokens = TokenCache(lambda: ring, Worker(), TokenSettings(86400))
        quiet = replace(PENDING, vm="quiet")
        await tokens.make(quiet, NOW_S)
        large = replace(PENDING, identity=replace(APP, own_claims=claims))
        made = [replace(large, resource=f"https://{number}") for number in range(20)]
        sizes = []
        for pending in made:
            token = await tokens.make(pending, NOW_S)
            assert isinstance(token, AccessToken)
            sizes.append(len(token.text) + len(claims))
        kept = [size for size, one in zip(sizes, made, strict=True) if tokens.cached(one, NOW_S)]
        assert kept == sizes[-len(kept) :]
        assert sum(kept) <= cache.MAX_BYTES_PER_VM < sum(kept) + sizes[0]
        assert tokens.cached(quiet, NOW_S) is not None

    asyncio.run(scenario())


def test_changed_identity_does_not_get_the_old_token(ring: Keyring) -> None:
    async def scenario() -> None:
        tokens = TokenCache(lambda: ring, Worker(), TokenSettings(86400))
        await tokens.make(PENDING, NOW_S)
        for changed in (
            replace(PENDING, identity=replace(APP, tenant_id="other")),
            replace(PENDING, identity=replace(APP, object_id="other")),
            replace(PENDING, identity=replace(APP, carrier="/other")),
            replace(PENDING, cloud="AzureChinaCloud"),
        ):
            assert tokens.cached(changed, NOW_S) is None
        assert tokens.cached(PENDING, NOW_S) is not None

    asyncio.run(scenario())


def test_token_refused_by_a_service_is_not_returned_again(ring: Keyring) -> None:
    async def scenario() -> None:
        tokens = TokenCache(lambda: ring, Worker(), TokenSettings(86400))
        token = await tokens.make(PENDING, NOW_S)
        assert isinstance(token, AccessToken)
        hashed = sha256(token.text.encode()).hexdigest()
        assert tokens.cached(replace(PENDING, outdated=hashed), NOW_S) is None
        assert tokens.cached(replace(PENDING, outdated="0" * 64), NOW_S) is token

    asyncio.run(scenario())


def test_forget_of_one_vm_leaves_others_in_the_making(ring: Keyring) -> None:
    async def scenario() -> None:
        tokens = TokenCache(lambda: ring, Worker(), TokenSettings(86400))
        making = asyncio.create_task(tokens.make(PENDING, NOW_S))
        await asyncio.sleep(0)
        tokens.forget({"other"})
        await making
        assert tokens.cached(PENDING, NOW_S) is not None

    asyncio.run(scenario())


def test_quiet_vm_gets_its_token_beside_a_full_queue(ring: Keyring) -> None:
    async def scenario() -> None:
        setup = CacheSetup(ring, worker=Worker(most_waiting=2))
        gate = threading.Event()
        busy = asyncio.ensure_future(
            setup.worker.run("web-0", "other", lambda: gate.wait(TOO_LONG_S))
        )
        await turns()
        loud = [
            asyncio.ensure_future(setup.tokens.make(replace(PENDING, resource=name), NOW_S))
            for name in ("first", "second")
        ]
        await turns()
        quiet = asyncio.ensure_future(setup.tokens.make(replace(PENDING, vm="quiet"), NOW_S))
        await turns()
        assert await loud[1] == Failed("throttled")
        gate.set()
        assert isinstance(await quiet, AccessToken)
        assert isinstance(await loud[0], AccessToken)
        assert await busy

    run_async(scenario)
