"""Requests to control: their bounds, and a control that does not answer."""

import asyncio
from typing import Any

import pytest

from openimds.credentials.remote import control_tokens
from openimds.credentials.remote.control_tokens import (
    AWAY_S,
    FAILURE_S,
    MOST_PER_VM,
    MOST_UNDER_WAY,
    ControlTokens,
)
from openimds.protocol.pending import AccessToken, Failed, PendingToken
from tests.unit.credentials.remote.control_setup import FakeControl, token_of
from tests.unit.credentials.tokens.cache_setup import NOW_S, PENDING, run_async, turns

UNAVAILABLE, THROTTLED = Failed("server_error"), Failed("throttled")


class Setup:
    """A source of tokens, its control and its steady clock."""

    def __init__(self, **more: Any) -> None:
        self.control, self.steady_s = FakeControl(), 0.0
        self.source = ControlTokens(self.control.mint, steady=lambda: self.steady_s, **more)

    async def get(self, pending: PendingToken = PENDING) -> str:
        """Return "token", or the key of the refusal."""
        result = await self.source.token(pending, NOW_S)
        return "token" if isinstance(result, AccessToken) else result.key

    def begin(self, *pendings: PendingToken) -> list["asyncio.Task[str]"]:
        return [asyncio.ensure_future(self.get(pending)) for pending in pendings]


def test_requests_under_way_are_bounded_and_vms_take_turns() -> None:
    async def scenario() -> None:
        setup = Setup()
        setup.control.open.clear()
        tasks = setup.begin(*(token_of("web-1", str(n)) for n in range(MOST_UNDER_WAY + 5)))
        await turns()
        tasks += setup.begin(token_of("web-2"))
        await turns()
        assert setup.control.most_under_way == MOST_UNDER_WAY
        setup.control.open.set()
        assert set(await asyncio.gather(*tasks)) == {"token"}
        assert setup.control.most_under_way == MOST_UNDER_WAY
        next_vms = [one.vm for one in setup.control.asked[MOST_UNDER_WAY:]]
        assert next_vms[:2] == ["web-1", "web-2"], "it waits for one request of the other VM"

    run_async(scenario)


def test_waiting_requests_of_a_vm_are_bounded() -> None:
    async def scenario() -> None:
        setup = Setup()
        setup.control.open.clear()
        most = MOST_UNDER_WAY + MOST_PER_VM
        tasks = setup.begin(*(token_of("web-1", str(n)) for n in range(most + 1)))
        await turns()
        assert tasks[-1].result() == "throttled"
        setup.control.open.set()
        assert set(await asyncio.gather(*tasks[:-1])) == {"token"}

    run_async(scenario)


def test_full_queue_refuses_the_vm_that_has_most(monkeypatch: pytest.MonkeyPatch) -> None:
    async def scenario() -> None:
        monkeypatch.setattr(control_tokens, "MOST_WAITING", 4)
        setup = Setup()
        setup.control.open.clear()
        tasks = setup.begin(*(token_of("web-1", str(n)) for n in range(MOST_UNDER_WAY + 4)))
        await turns()
        tasks += setup.begin(token_of("web-2"))
        await turns()
        assert tasks[-2].result() == "throttled", "the newest of the VM that has most"
        setup.control.open.set()
        assert await tasks[-1] == "token"
        await asyncio.gather(*tasks)

    run_async(scenario)


def test_control_that_is_away_is_asked_once_a_second() -> None:
    async def scenario() -> None:
        setup = Setup()
        setup.control.is_away = True
        assert not setup.source.seems_away()
        assert await setup.get() == "server_error"
        assert setup.source.seems_away()
        assert await setup.get(token_of("web-2")) == "server_error"
        assert len(setup.control.asked) == 1, "the second one is refused at once"
        setup.steady_s = AWAY_S
        assert not setup.source.seems_away()
        assert await setup.get() == "server_error"
        assert len(setup.control.asked) == 2
        setup.steady_s = 2 * AWAY_S
        setup.control.is_away = False
        assert await setup.get() == "token"
        assert not setup.source.seems_away()
        assert await setup.get(token_of("web-2")) == "token"

    run_async(scenario)


def test_one_request_at_a_time_tries_a_control_that_was_away() -> None:
    async def scenario() -> None:
        setup = Setup()
        setup.control.is_away = True
        await setup.get()
        setup.steady_s, setup.control.is_away = AWAY_S, False
        setup.control.open.clear()
        first, second = setup.begin(PENDING, token_of("web-2"))
        await turns()
        assert second.result() == "server_error"
        setup.control.open.set()
        assert await first == "token"

    run_async(scenario)


def test_requests_that_wait_are_refused_once_control_hangs() -> None:
    async def scenario() -> None:
        setup = Setup(timeout_s=0.01)
        setup.control.open.clear()
        tasks = setup.begin(*(token_of("web-1", str(n)) for n in range(MOST_UNDER_WAY + 5)))
        assert {*await asyncio.gather(*tasks)} == {"server_error"}
        assert len(setup.control.asked) == MOST_UNDER_WAY
        assert setup.control.under_way == 0, "the hanging requests were ended"

    run_async(scenario)


def test_refusal_is_given_again_for_some_seconds() -> None:
    async def scenario() -> None:
        refused: list[PendingToken] = []
        setup = Setup(on_refusal=refused.append)
        setup.control.result = Failed("identity_not_found")
        assert [await setup.get(), await setup.get()] == ["identity_not_found"] * 2
        assert len(setup.control.asked) == 1
        assert refused == [PENDING]
        setup.steady_s = FAILURE_S
        setup.control.result = Failed("throttled")
        assert await setup.get() == "throttled"
        assert refused == [PENDING], "a busy control refuses nothing for good"

    run_async(scenario)


def test_withdrawn_request_is_not_sent() -> None:
    async def scenario() -> None:
        setup = Setup()
        setup.control.open.clear()
        tasks = setup.begin(*(token_of("web-1", str(n)) for n in range(MOST_UNDER_WAY + 1)))
        await turns()
        assert not setup.source.withdraw(token_of("web-1", "0")), "that one is under way"
        assert setup.source.withdraw(token_of("web-1", str(MOST_UNDER_WAY)))
        assert await tasks[-1] == "throttled"
        setup.control.open.set()
        await asyncio.gather(*tasks)
        assert len(setup.control.asked) == MOST_UNDER_WAY

    run_async(scenario)


def test_cancelled_request_takes_no_place() -> None:
    async def scenario() -> None:
        setup = Setup()
        setup.control.open.clear()
        tasks = setup.begin(*(token_of("web-1", str(n)) for n in range(MOST_UNDER_WAY + 1)))
        await turns()
        tasks[-1].cancel()
        await turns()
        setup.control.open.set()
        await asyncio.gather(*tasks[:-1])
        setup.control.open.clear()
        again = setup.begin(*(token_of("web-2", str(n)) for n in range(MOST_UNDER_WAY)))
        await turns()
        assert setup.control.under_way == MOST_UNDER_WAY, "all places are free again"
        setup.control.open.set()
        await asyncio.gather(*again)

    run_async(scenario)


def test_fault_of_the_way_to_control_frees_its_place() -> None:
    async def broken(_pending: PendingToken, _now_s: float) -> AccessToken:
        raise RuntimeError("broken")

    async def scenario() -> None:
        source = ControlTokens(broken, steady=lambda: 0.0)
        for number in range(MOST_UNDER_WAY + 1):
            with pytest.raises(RuntimeError, match="broken"):
                await source.token(token_of("web-1", str(number)), NOW_S)

    run_async(scenario)
