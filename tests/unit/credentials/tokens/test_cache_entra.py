"""Real tokens: fetched once for all who wait, ahead of time, and only so many at once."""

import asyncio
import gc

import pytest
from msgspec.structs import replace

from openimds.credentials.keys.keyring import Keyring
from openimds.credentials.tokens import cache
from openimds.credentials.tokens.cache import RETRY_S
from openimds.protocol.pending import AccessToken, Failed
from tests.unit.credentials.tokens.worker_setup import (
    NOW_S,
    REAL,
    Directory,
    Shop,
    at_work,
    turns,
)


def test_without_a_directory_real_tokens_are_azures_500(ring: Keyring) -> None:
    async def work() -> None:
        shop = Shop(ring)
        assert await shop.tokens.make(REAL, NOW_S) == Failed("server_error")
        assert len(shop.tokens) == 0

    at_work(work)


def test_all_who_wait_share_one_fetch_and_one_who_leaves_does_not_end_it(ring: Keyring) -> None:
    async def work() -> None:
        directory = Directory(is_open=False)
        shop = Shop(ring, directory)
        first, *others = [asyncio.ensure_future(shop.text(REAL)) for _ in range(4)]
        await turns()
        first.cancel()
        await turns()
        assert first.cancelled()
        directory.open.set()
        assert [await one for one in others] == ["real-1"] * 3
        assert directory.fetches == 1
        assert await shop.text(REAL, NOW_S + 9) == "real-1"

    at_work(work)


def test_a_fetch_goes_on_when_everybody_has_left(ring: Keyring) -> None:
    async def work() -> None:
        directory = Directory(is_open=False)
        shop = Shop(ring, directory)
        only = asyncio.ensure_future(shop.text(REAL))
        await turns()
        only.cancel()
        await turns()
        directory.open.set()
        await turns()
        held = shop.tokens.cached(REAL, NOW_S)
        assert held is not None
        assert held.text == "real-1"

    at_work(work)


def test_a_failed_fetch_is_not_kept(ring: Keyring) -> None:
    async def work() -> None:
        directory = Directory()
        shop = Shop(ring, directory)
        directory.fails = Failed("entra_refused", {"error": "x", "description": "y"})
        assert await shop.tokens.make(REAL, NOW_S) == directory.fails
        assert shop.tokens.cached(REAL, NOW_S) is None
        directory.fails = None
        assert await shop.text(REAL) == "real-2"

    at_work(work)


def test_a_fetch_that_breaks_breaks_for_who_waits_and_the_next_is_whole(ring: Keyring) -> None:
    async def work() -> None:
        directory = Directory()
        shop = Shop(ring, directory)
        directory.fails = ZeroDivisionError()
        with pytest.raises(ZeroDivisionError):
            await shop.tokens.make(REAL, NOW_S)
        directory.fails = None
        assert await shop.text(REAL) == "real-2"

    at_work(work)


def test_a_real_token_is_fetched_again_when_half_its_life_is_over(ring: Keyring) -> None:
    async def work() -> None:
        directory = Directory()
        shop = Shop(ring, directory)
        made_s = int(NOW_S)
        assert await shop.text(REAL, made_s) == "real-1"
        assert await shop.text(REAL, made_s + 1799) == "real-1"
        await turns()
        assert directory.fetches == 1
        directory.open.clear()
        # Nobody waits for the next one: the old one is good for half an hour.
        for _ in range(3):
            assert await shop.text(REAL, made_s + 1800) == "real-1"
            await turns()
        assert directory.fetches == 2
        directory.open.set()
        await turns()
        assert await shop.text(REAL, made_s + 1801) == "real-2"
        # It lives 3600 s from 1800 on, so half of it is over at 3600.
        assert await shop.text(REAL, made_s + 3599) == "real-2"
        await turns()
        assert directory.fetches == 2

    at_work(work)


@pytest.mark.parametrize("fault", [Failed("server_error"), ZeroDivisionError()])
def test_a_fetch_ahead_of_time_that_fails_is_tried_again_but_not_with_every_request(
    ring: Keyring, fault: Failed | Exception
) -> None:
    async def work() -> None:
        directory = Directory()
        shop = Shop(ring, directory)
        lost: list[object] = []
        asyncio.get_running_loop().set_exception_handler(lambda _, context: lost.append(context))
        made_s = int(NOW_S)
        await shop.text(REAL, made_s)
        directory.fails = fault
        for later_s in (1800, 1801, 1800 + RETRY_S - 1):
            assert await shop.text(REAL, made_s + later_s) == "real-1"
            await turns()
            assert directory.fetches == 2
        await shop.text(REAL, made_s + 1800 + RETRY_S)
        await turns()
        assert directory.fetches == 3
        gc.collect()
        assert lost == []

    at_work(work)


def test_only_so_many_fetches_are_under_way(ring: Keyring, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cache, "_MAX_FETCHES", 2)

    async def work() -> None:
        directory = Directory(is_open=False)
        shop = Shop(ring, directory)
        needs = [replace(REAL, vm=name) for name in "abc"]
        waiting = [asyncio.ensure_future(shop.tokens.make(need, NOW_S)) for need in needs]
        await turns()
        assert directory.fetches == 2
        assert await waiting[2] == Failed("throttled")
        directory.open.set()
        assert [isinstance(await one, AccessToken) for one in waiting[:2]] == [True, True]
        assert await shop.text(needs[2])

    at_work(work)


def test_a_real_token_can_be_wanted_fresh(ring: Keyring) -> None:
    async def work() -> None:
        shop = Shop(ring, Directory())
        assert await shop.text(REAL) == "real-1"
        assert await shop.text(replace(REAL, is_fresh=True), NOW_S + 1) == "real-2"
        assert await shop.text(REAL, NOW_S + 2) == "real-2"

    at_work(work)
