"""The lease: taken, renewed, lost and given back, without an engine."""

import asyncio
from collections.abc import Awaitable, Callable
from types import SimpleNamespace

import pytest
from msgspec import Struct

from openimds.fleet.store.port import FencedError, StoreError
from openimds.server.hosts import leading
from openimds.server.hosts.leading import TTL_S, ControlLease, Leadership


class Holder(Struct, frozen=True):
    """The control that leads."""

    holder: str
    url: str


class LeaseRow:
    """The lease of an engine. A reaction to each message of a control changes it."""

    def __init__(self) -> None:
        self.held: Holder | None = None
        self.epoch = 0
        self.is_away = self.is_hidden = False
        self.calls: list[str] = []
        self.messages: list[str] = []
        self.reactions: list[Callable[[], object]] = []

    def notify(self, message: str) -> None:
        self.messages.append(message)
        if self.reactions:
            self.reactions.pop(0)()

    def set_away(self, is_away: bool) -> None:
        self.is_away = is_away

    def give_to(self, holder: str) -> None:
        """Let another control lead, or none."""
        self.held = Holder(holder, f"http://{holder}:8170") if holder else None
        self.epoch += 1

    def open(self) -> ControlLease:
        self.answer("open")
        return FakeLease(self)

    def answer(self, call: str) -> None:
        self.calls.append(call)
        if self.is_away:
            raise StoreError("the engine is away")


class FakeLease:
    """A connection to the lease."""

    def __init__(self, row: LeaseRow) -> None:
        self.row, self.epoch = row, -1

    def take(self, holder: str, url: str, ttl_s: float) -> int | None:
        self.row.answer("take")
        assert ttl_s == TTL_S
        if self.row.held:
            return None
        self.row.held = Holder(holder, url)
        self.row.epoch += 1
        self.epoch = self.row.epoch
        return self.epoch

    def renew(self, ttl_s: float) -> None:
        self.row.answer("renew")
        assert ttl_s == TTL_S
        if self.epoch != self.row.epoch:
            raise FencedError(f"epoch {self.epoch} has ended")

    def release(self) -> None:
        self.row.answer("release")
        self.row.held = None

    def holder(self) -> Holder | None:
        return None if self.row.is_hidden else self.row.held

    def close(self) -> None:
        self.row.calls.append("close")


@pytest.fixture(autouse=True)
def _no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(leading, "RENEW_S", 0.0)


def lead(row: LeaseRow, work: Callable[[Leadership], Awaitable[None]]) -> None:
    """Do work with a leadership, and close it."""

    async def whole() -> None:
        own = Leadership(row.open, "c1/1", "http://c1:8170", row.notify)
        try:
            async with asyncio.timeout(10):
                await work(own)
        finally:
            await own.close()

    asyncio.run(whole())


def test_free_lease_is_taken_at_once() -> None:
    row = LeaseRow()

    async def work(own: Leadership) -> None:
        assert own.reason == "it has not reached its store yet"
        assert await own.take() == own.epoch == 1
        assert (own.reason, own.leader_url) == ("", "")
        assert row.held == Holder("c1/1", "http://c1:8170")

    lead(row, work)
    assert (row.held, row.messages) == (None, [])
    assert row.calls == ["open", "take", "release", "close"]


def test_standby_names_the_leader_until_it_leads_itself() -> None:
    row, seen = LeaseRow(), list[tuple[str, str]]()
    row.give_to("c2")

    async def work(own: Leadership) -> None:
        row.reactions.append(lambda: seen.append((own.reason, own.leader_url)))
        row.reactions.append(lambda: row.give_to(""))
        taking = asyncio.create_task(own.take())
        while row.calls.count("take") < 3:  # noqa: ASYNC110 - the lease has no event for a call
            await asyncio.sleep(0)
        row.notify("its leader ends")
        assert await taking == 3

    lead(row, work)
    assert seen == [("c2 leads", "http://c2:8170")]
    assert row.messages == ["this control stands by: c2 leads", "its leader ends"]
    assert row.calls[-2:] == ["release", "close"]


def test_standby_that_missed_the_leader_says_so() -> None:
    row = LeaseRow()
    row.give_to("c2")
    row.is_hidden = True
    row.reactions.append(lambda: row.give_to(""))

    async def work(own: Leadership) -> None:
        await own.take()

    lead(row, work)
    assert row.messages == ["this control stands by: another control has just led"]


def test_engine_that_is_away_is_tried_again() -> None:
    row = LeaseRow()
    row.is_away = True
    row.reactions.append(lambda: row.set_away(False))

    async def work(own: Leadership) -> None:
        assert await own.take() == 1

    lead(row, work)
    assert row.calls == ["open", "open", "take", "release", "close"]
    assert row.messages == [
        "this control stands by: its store cannot be reached: the engine is away"
    ]


def test_leader_goes_on_while_the_engine_is_away() -> None:
    row = LeaseRow()
    back: list[Callable[[], object]] = [lambda: row.set_away(False)]

    async def work(own: Leadership) -> None:
        await own.take()
        row.is_away = True
        row.reactions += back
        keeping = asyncio.create_task(own.keep())
        while not row.messages or row.calls[-1] != "renew" or row.is_away:  # noqa: ASYNC110 - as above
            await asyncio.sleep(0)
        row.give_to("c2")
        with pytest.raises(FencedError, match="epoch 1 has ended"):
            await keeping

    lead(row, work)
    assert row.messages == ["the lease is not renewed: the engine is away"]


def test_each_absence_of_the_engine_is_reported_once() -> None:
    row = LeaseRow()

    async def calls(count: int) -> None:
        wanted = row.calls.count("renew") + count
        while row.calls.count("renew") < wanted:  # noqa: ASYNC110 - as above
            await asyncio.sleep(0)

    async def work(own: Leadership) -> None:
        await own.take()
        keeping = asyncio.create_task(own.keep())
        for is_away in (True, False, True):
            row.is_away = is_away
            await calls(3)
        keeping.cancel()
        await asyncio.gather(keeping, return_exceptions=True)
        row.is_away = False

    lead(row, work)
    assert row.messages == ["the lease is not renewed: the engine is away"] * 2


def test_standby_that_ends_leaves_the_lease_to_its_leader() -> None:
    row = LeaseRow()
    row.give_to("c2")

    async def work(own: Leadership) -> None:
        stopped = asyncio.Event()
        loop = asyncio.get_running_loop()
        row.reactions.append(lambda: loop.call_soon(stopped.set))
        taking = asyncio.create_task(own.take())
        await stopped.wait()
        taking.cancel()
        await asyncio.gather(taking, return_exceptions=True)

    lead(row, work)
    assert row.held == Holder("c2", "http://c2:8170")
    assert "release" not in row.calls
    assert row.calls[-1] == "close"


def test_lease_that_cannot_be_released_is_reported() -> None:
    row = LeaseRow()

    async def work(own: Leadership) -> None:
        await own.take()
        row.is_away = True

    lead(row, work)
    assert row.messages == ["the lease is not released: the engine is away"]
    assert row.calls[-1] == "close"


def test_control_that_never_reached_its_store_ends_in_order() -> None:
    row = LeaseRow()

    async def work(own: Leadership) -> None:
        assert own.epoch == 0

    lead(row, work)
    assert row.calls == []


def test_age_of_the_lease_counts_from_before_its_call(monkeypatch: pytest.MonkeyPatch) -> None:
    row, now_s = LeaseRow(), 0.0
    answer = row.answer

    def answer_late(call: str) -> None:
        nonlocal now_s
        now_s += 2.0
        answer(call)

    monkeypatch.setattr(row, "answer", answer_late)
    monkeypatch.setattr(leading, "time", SimpleNamespace(monotonic=lambda: now_s))

    async def work(own: Leadership) -> None:
        await own.take()
        assert own.age_s() == 2.0
        own._renew()
        assert own.age_s() == 2.0

    lead(row, work)
