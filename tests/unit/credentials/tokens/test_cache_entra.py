"""Tokens of Entra in the cache: shared fetches, fetches ahead of time, and their limit."""

import asyncio
import gc

import pytest
from msgspec.structs import replace

from openimds.credentials.keys.keyring import Keyring
from openimds.credentials.tokens.cache import RETRY_S
from openimds.protocol.pending import Failed
from tests.unit.credentials.tokens.cache_setup import (
    NOW_S,
    REAL,
    CacheSetup,
    FakeEntra,
    run_async,
    turns,
)


def test_without_entra_real_tokens_fail_as_server_error(ring: Keyring) -> None:
    async def scenario() -> None:
        setup = CacheSetup(ring)
        assert await setup.tokens.make(REAL, NOW_S) == Failed("server_error")
        assert len(setup.tokens) == 0

    run_async(scenario)


def test_callers_share_a_fetch_that_survives_a_cancelled_one(ring: Keyring) -> None:
    async def scenario() -> None:
        entra = FakeEntra(is_open=False)
        setup = CacheSetup(ring, entra)
        first, *others = [asyncio.ensure_future(setup.text(REAL)) for _ in range(4)]
        await turns()
        first.cancel()
        await turns()
        assert first.cancelled()
        entra.open.set()
        assert [await other for other in others] == ["real-1"] * 3
        assert entra.fetches == 1
        assert await setup.text(REAL, NOW_S + 9) == "real-1"

    run_async(scenario)


def test_fetch_goes_on_when_every_caller_has_left(ring: Keyring) -> None:
    async def scenario() -> None:
        entra = FakeEntra(is_open=False)
        setup = CacheSetup(ring, entra)
        only = asyncio.ensure_future(setup.text(REAL))
        await turns()
        only.cancel()
        await turns()
        entra.open.set()
        await turns()
        cached = setup.tokens.cached(REAL, NOW_S)
        assert cached is not None
        assert cached.text == "real-1"

    run_async(scenario)


def test_failed_fetch_is_not_cached(ring: Keyring) -> None:
    async def scenario() -> None:
        entra = FakeEntra()
        setup = CacheSetup(ring, entra)
        entra.result = Failed("entra_refused", {"error": "x", "description": "y"})
        assert await setup.tokens.make(REAL, NOW_S) == entra.result
        assert setup.tokens.cached(REAL, NOW_S) is None
        entra.result = None
        assert await setup.text(REAL) == "real-2"

    run_async(scenario)


def test_error_of_a_fetch_does_not_affect_the_next(ring: Keyring) -> None:
    async def scenario() -> None:
        entra = FakeEntra()
        setup = CacheSetup(ring, entra)
        entra.result = ZeroDivisionError()
        with pytest.raises(ZeroDivisionError):
            await setup.tokens.make(REAL, NOW_S)
        entra.result = None
        assert await setup.text(REAL) == "real-2"

    run_async(scenario)


def test_real_token_is_renewed_after_half_its_life(ring: Keyring) -> None:
    async def scenario() -> None:
        entra = FakeEntra()
        setup = CacheSetup(ring, entra)
        made_s = int(NOW_S)
        assert await setup.text(REAL, made_s) == "real-1"
        assert await setup.text(REAL, made_s + 1799) == "real-1"
        await turns()
        assert entra.fetches == 1
        entra.open.clear()
        # No caller waits for the successor: the old token is valid for half an hour more.
        for _ in range(3):
            assert await setup.text(REAL, made_s + 1800) == "real-1"
            await turns()
        assert entra.fetches == 2
        entra.open.set()
        await turns()
        assert await setup.text(REAL, made_s + 1801) == "real-2"
        # The successor lives 3600 s from 1800 on, so half of its life is over at 3600.
        assert await setup.text(REAL, made_s + 3599) == "real-2"
        await turns()
        assert entra.fetches == 2

    run_async(scenario)


@pytest.mark.parametrize("fault", [Failed("server_error"), ZeroDivisionError()])
def test_failed_renewal_is_retried_once_per_interval(
    ring: Keyring, fault: Failed | Exception
) -> None:
    async def scenario() -> None:
        entra = FakeEntra()
        setup = CacheSetup(ring, entra)
        lost: list[object] = []
        asyncio.get_running_loop().set_exception_handler(lambda _, context: lost.append(context))
        made_s = int(NOW_S)
        await setup.text(REAL, made_s)
        entra.result = fault
        for later_s in (1800, 1801, 1800 + RETRY_S - 1):
            assert await setup.text(REAL, made_s + later_s) == "real-1"
            await turns()
            assert entra.fetches == 2
        await setup.text(REAL, made_s + 1800 + RETRY_S)
        await turns()
        assert entra.fetches == 3
        gc.collect()
        assert lost == []

    run_async(scenario)


def test_fetch_without_callers_is_withdrawn_before_it_begins(ring: Keyring) -> None:
    async def scenario() -> None:
        entra = FakeEntra(is_open=False)
        entra.has_begun = False
        setup = CacheSetup(ring, entra)
        first, second = [asyncio.ensure_future(setup.text(REAL)) for _ in range(2)]
        await turns()
        first.cancel()
        await turns()
        assert entra.withdrawn == []
        second.cancel()
        await turns()
        assert entra.withdrawn == [REAL]
        # A later caller does not share the end of the withdrawn fetch.
        entra.open.set()
        assert await setup.text(replace(REAL, is_fresh=True)) == "real-2"

    run_async(scenario)


def test_fetch_ahead_of_time_is_not_withdrawn(ring: Keyring) -> None:
    async def scenario() -> None:
        entra = FakeEntra()
        setup = CacheSetup(ring, entra)
        await setup.text(REAL)
        entra.open.clear()
        entra.has_begun = False
        assert await setup.text(REAL, NOW_S + 1800) == "real-1"
        joined = asyncio.ensure_future(setup.text(replace(REAL, is_fresh=True)))
        await turns()
        joined.cancel()
        await turns()
        entra.open.set()
        await turns()
        assert (entra.withdrawn, entra.fetches) == ([], 2)
        assert await setup.text(REAL, int(NOW_S) + 1801) == "real-2"

    run_async(scenario)


def test_fetch_that_also_renews_a_token_is_not_withdrawn(ring: Keyring) -> None:
    async def scenario() -> None:
        entra = FakeEntra()
        setup = CacheSetup(ring, entra)
        await setup.text(REAL)
        entra.open.clear()
        entra.has_begun = False
        fresh = asyncio.ensure_future(setup.text(replace(REAL, is_fresh=True)))
        await turns()
        assert await setup.text(REAL, NOW_S + 1800) == "real-1"
        fresh.cancel()
        await turns()
        assert (entra.withdrawn, entra.fetches) == ([], 2)

    run_async(scenario)


def test_finished_fetch_is_not_withdrawn(ring: Keyring) -> None:
    async def scenario() -> None:
        entra = FakeEntra()
        assert await CacheSetup(ring, entra).text(REAL) == "real-1"
        assert entra.withdrawn == []

    run_async(scenario)


def test_fresh_real_token_is_fetched_and_cached(ring: Keyring) -> None:
    async def scenario() -> None:
        setup = CacheSetup(ring, FakeEntra())
        assert await setup.text(REAL) == "real-1"
        assert await setup.text(replace(REAL, is_fresh=True), NOW_S + 1) == "real-2"
        assert await setup.text(REAL, NOW_S + 2) == "real-2"

    run_async(scenario)
