"""Tokens on a host: cached, renewed ahead of need, and there while control is away."""

import pytest
from msgspec.structs import replace

from openimds.credentials.remote import host_tokens
from openimds.credentials.tokens.cache import RETRY_S
from openimds.protocol.pending import AccessToken, Failed
from tests.unit.credentials.remote.control_setup import DAY_S, HALF_S, TestHost, token_of
from tests.unit.credentials.tokens.cache_setup import PENDING, run_async, turns

RESOURCES = (
    "https://vault.azure.net",
    "https://management.azure.com/",
    "https://storage.azure.com",
)
UNAVAILABLE = Failed("server_error")


async def renew(host: TestHost) -> None:
    host.tokens.renew_due(host.now_s)
    await turns()


def test_token_of_control_is_cached_for_its_life() -> None:
    async def scenario() -> None:
        host = TestHost()
        assert await host.text() == "token-1"
        host.now_s += HALF_S - 1
        assert await host.text() == "token-1"
        assert await host.text(replace(PENDING, is_fresh=True)) == "token-2"
        assert await host.text() == "token-2"

    run_async(scenario)


def test_ten_minutes_without_control_go_unseen_by_guests() -> None:
    async def scenario() -> None:
        host, errors, outages = TestHost(), 0, 0
        for resource in RESOURCES:
            await host.text(token_of("web-1", resource))
        # A day and a half, in which control is away for ten minutes of each hour; of the day's
        # tokens one is asked for each minute, the others not until the end.
        for minute in range(36 * 60):
            host.now_s += 60
            host.control.is_away = minute % 60 >= 50
            outages += host.control.is_away
            await renew(host)
            errors += isinstance(await host.text(token_of("web-1", RESOURCES[0])), Failed)
            if minute == 23 * 60:
                for resource in RESOURCES[1:]:
                    errors += isinstance(await host.text(token_of("web-1", resource)), Failed)
        host.control.is_away = True
        for resource in RESOURCES:
            errors += isinstance(await host.text(token_of("web-1", resource)), Failed)
        assert (errors, outages) == (0, 360)

    run_async(scenario)


def test_new_token_is_refused_while_control_is_away() -> None:
    async def scenario() -> None:
        host = TestHost()
        host.control.is_away = True
        assert await host.text() == UNAVAILABLE
        host.now_s += 1
        host.control.is_away = False
        assert await host.text() == "token-2"

    run_async(scenario)


def test_asked_token_is_renewed_at_half_life_without_a_request() -> None:
    async def scenario() -> None:
        host = TestHost()
        await host.text()
        host.now_s += HALF_S - 1
        await renew(host)
        assert len(host.control.asked) == 1
        host.now_s += 1
        await renew(host)
        assert len(host.control.asked) == 2
        assert await host.text() == "token-2"

    run_async(scenario)


def test_token_that_nobody_asked_for_in_a_day_is_not_renewed() -> None:
    async def scenario() -> None:
        host = TestHost()
        await host.text()
        host.now_s += HALF_S
        await renew(host)
        host.now_s += HALF_S + 1
        await renew(host)
        assert len(host.control.asked) == 2
        assert host.tokens.asked("web-1", host.now_s) == []

    run_async(scenario)


def test_failed_renewal_is_unseen_and_tried_again() -> None:
    async def scenario() -> None:
        host = TestHost()
        await host.text()
        host.now_s += HALF_S
        host.control.is_away = True
        await renew(host)
        assert len(host.control.asked) == 2
        assert await host.text() == "token-1"
        host.control.is_away = False
        await renew(host)
        assert len(host.control.asked) == 2, "control is known to be away for a second"
        host.now_s += RETRY_S
        await renew(host)
        assert await host.text() == "token-3"

    run_async(scenario)


def test_token_missing_after_a_long_outage_is_fetched_again() -> None:
    async def scenario() -> None:
        host = TestHost()
        await host.text()
        host.now_s += DAY_S
        await renew(host)
        assert (await host.text(), len(host.control.asked)) == ("token-2", 2)

    run_async(scenario)


def test_renewals_are_spread_before_half_life() -> None:
    async def scenario() -> None:
        host = TestHost(jitter=lambda: 1.0)
        await host.text()
        host.now_s += int(0.4 * DAY_S) - 1
        await renew(host)
        assert len(host.control.asked) == 1
        host.now_s += 1
        await renew(host)
        assert len(host.control.asked) == 2

    run_async(scenario)


def test_placement_fetches_tokens_that_control_knows() -> None:
    async def scenario() -> None:
        host = TestHost()
        host.tokens.prefetch("web-1", host.now_s, [PENDING])
        await turns()
        host.control.is_away = True
        assert await host.text() == "token-1"

    run_async(scenario)


def test_renewals_leave_places_for_guests(monkeypatch: pytest.MonkeyPatch) -> None:
    async def scenario() -> None:
        monkeypatch.setattr(host_tokens, "MOST_AHEAD", 3)
        host = TestHost()
        host.control.open.clear()
        for number in range(5):
            host.tokens.prefetch(f"web-{number}", host.now_s, [token_of(f"web-{number}")])
        host.tokens.forget({f"web-{number}" for number in range(5)})
        host.control.open.set()
        await turns()
        asked = len(host.control.asked)
        host.control.open.clear()
        host.tokens.forget({f"web-{number}" for number in range(5)})
        host.tokens.renew_due(host.now_s)
        await turns()
        assert len(host.control.asked) == asked + 3
        host.tokens.renew_due(host.now_s)
        await turns()
        assert len(host.control.asked) == asked + 3, "the three are under way"
        host.control.open.set()
        await turns()
        await renew(host)
        assert len(host.control.asked) == asked + 5, "the others have their turn"

    run_async(scenario)


def test_refused_identity_is_renewed_no_longer() -> None:
    async def scenario() -> None:
        host = TestHost()
        await host.text()
        host.control.result = Failed("identity_not_found")
        host.now_s += HALF_S
        await renew(host)
        assert host.tokens.asked("web-1", host.now_s) == []
        assert await host.text() == "token-1", "a token stays until it expires, as on Azure"

    run_async(scenario)


def test_forgotten_tokens_are_fetched_again_until_the_vm_leaves() -> None:
    async def scenario() -> None:
        host = TestHost()
        await host.text()
        host.tokens.forget({"web-1"})
        await renew(host)
        assert await host.text() == "token-2"
        host.tokens.leave({"web-1"})
        await renew(host)
        assert len(host.control.asked) == 2
        assert host.tokens.cached(PENDING, host.now_s) is None

    run_async(scenario)


def test_clock_set_back_evicts_tokens_of_the_future() -> None:
    async def scenario() -> None:
        host = TestHost()
        await host.text()
        host.now_s -= 1000
        host.tokens.forget_future(host.now_s)
        assert host.tokens.cached(PENDING, host.now_s) is None
        assert isinstance(await host.tokens.make(PENDING, host.now_s), AccessToken)

    run_async(scenario)
