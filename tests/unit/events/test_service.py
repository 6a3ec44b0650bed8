"""The agenda: what guests see, what operators order, what is written down."""

import asyncio
from typing import Any

import pytest

from openimds.errors import ConfigError
from openimds.facts.events import EventStatus, Trigger
from openimds.fleet.store.port import StoreError
from openimds.protocol.events.document import ScopeActivity
from openimds.protocol.events.event import Event
from openimds.protocol.events.input import EventRequest
from openimds.protocol.events.state_machine import RefusalReason, TransitionRefusal
from openimds.protocol.pending import Approved, Failed, PendingEventsDocument
from tests.unit.events.setup import NOW_S, Room, play, until

REBOOT = EventRequest("Reboot", ("as-1",))


def test_members_see_one_document_object_and_others_do_not() -> None:
    async def work(room: Room) -> None:
        (event,) = await room.events_service.declare(REBOOT, "me")
        assert room.shown()["Events"][0]["Resources"] == ["first"]
        assert room.shown("vm:lone") == {"DocumentIncarnation": 0, "Events": []}
        need = PendingEventsDocument("as-2", "set:as", "2020-07-01")
        before = room.events_service.cached(need, room.now_s)
        assert room.events_service.cached(need, room.now_s + 99) is before
        assert await room.approve("as-2", event) == Approved()
        assert room.events_service.cached(need, room.now_s) is not before
        assert room.shown()["Events"][0]["EventStatus"] == "Started"
        assert await room.log() == [("declared", "me"), ("approved", "as-2")]
        assert room.events_service.counts() == {"Scheduled": 0, "Started": 1}

    play(work)


def test_an_approval_that_is_not_enough_leaves_the_document_as_it_is() -> None:
    async def work(room: Room) -> None:
        wish = EventRequest("Reboot", ("as-1", "as-2"), needs="all")
        (event,) = await room.events_service.declare(wish, "me")
        need = PendingEventsDocument("as-2", "set:as", "2020-07-01")
        before = room.events_service.cached(need, room.now_s)
        assert await room.approve("as-2", event) == Approved()
        assert room.events_service.cached(need, room.now_s) is before
        kept = room.events_service.get(event.event_id)
        assert kept
        assert kept.approvals == ("as-2",)
        assert await room.approve("as-1", event) == Approved()
        assert room.shown()["Events"][0]["EventStatus"] == "Started"

    play(work)


def test_an_unknown_id_approves_nothing() -> None:
    async def work(room: Room) -> None:
        (event,) = await room.events_service.declare(REBOOT, "me")
        assert await room.approve("lone", event, scope="vm:lone") == Failed("malformed_events")
        assert room.shown()["DocumentIncarnation"] == 1

    play(work)


def test_what_is_not_written_does_not_happen() -> None:
    async def work(room: Room) -> None:
        (event,) = await room.events_service.declare(REBOOT, "me")
        before = room.shown()
        room.store.fails = {"write_events"}
        assert await room.approve("as-1", event) == Failed("unavailable")
        with pytest.raises(StoreError):
            await room.events_service.declare(REBOOT, "me")
        with pytest.raises(StoreError):
            await room.events_service.order(Trigger.START, event.event_id, "me")
        assert room.shown() == before
        assert len(room.events_service.events()) == 1
        assert room.told == ["as-1 could not approve an event: fleet.db: the disk is full"]
        room.store.fails.clear()
        assert await room.approve("as-1", event) == Approved()
        assert room.shown()["DocumentIncarnation"] == 2

    play(work)


def test_a_new_process_goes_on_where_the_old_one_was() -> None:
    async def work(room: Room) -> None:
        (first,) = await room.events_service.declare(REBOOT, "me")
        await room.events_service.declare(EventRequest("Freeze", ("as-2",), notice_s=60), "me")
        await room.approve("as-1", first)
        state = room.clock.planned(offset_s=5)
        await room.events_service.set_clock(state)
        again = await Room(room.store).load()
        assert again.shown() == room.shown()
        assert again.events_service.events() == room.events_service.events()
        assert again.clock() == NOW_S + 5
        assert again.fleet_service.last_log_entry == 3
        await again.close()
        # What came due meanwhile comes at its own time.
        late = Room(room.store)
        late.now_s += 100
        await late.load()
        assert late.shown()["DocumentIncarnation"] == 4
        assert [one["EventStatus"] for one in late.shown()["Events"]] == ["Started", "Started"]
        await late.close()
        late.fleet_service._thread.shutdown()
        again.fleet_service._thread.shutdown()

    play(work)


def test_time_alone_starts_and_ends_an_event() -> None:
    async def work(room: Room) -> None:
        await room.events_service.declare(
            EventRequest("Freeze", ("as-2",), notice_s=60, life_s=30), "me"
        )
        await room.pass_time(59.5)
        assert room.shown()["Events"][0]["EventStatus"] == "Scheduled"
        await room.pass_time(0.5)
        assert room.shown()["Events"][0]["EventStatus"] == "Started"
        await room.pass_time(3600)
        assert room.shown() == {"DocumentIncarnation": 3, "Events": []}
        found = await room.fleet_service.call_store(room.store.log_entries, 0, 9)
        assert [(one.who, one.at) for one in found[1:]] == [
            ("time", "2026-11-22T19:55:46.000Z"),
            ("time", "2026-11-22T19:56:16.000Z"),
        ]

    play(work)


def test_the_timer_wakes_for_what_is_due_and_tries_again_when_it_could_not_be_written() -> None:
    async def work(room: Room) -> None:
        await room.events_service.declare(EventRequest("Freeze", ("as-2",), notice_s=60), "me")
        timer = room.events_service.event_writer._timer
        assert timer
        wait_s = timer.when() - asyncio.get_running_loop().time()
        assert 29 < wait_s <= 30  # It looks again before: a wall's clock may be set.
        room.now_s += 60
        room.store.fails = {"write_events"}
        room.events_service.event_writer._wake()
        await until(lambda: bool(room.told))
        assert room.told == ["an event is late: fleet.db: the disk is full"]
        retry = room.events_service.event_writer._timer
        assert retry
        assert retry.when() - asyncio.get_running_loop().time() <= 2
        room.store.fails.clear()
        room.events_service.event_writer._wake()
        await until(lambda: room.shown()["Events"][0]["EventStatus"] == "Started")

    play(work)


def test_the_timer_is_set_for_what_was_written_beside_what_could_not_be() -> None:
    async def work(room: Room) -> None:
        def broken(*_: object) -> Any:
            raise RuntimeError("a mistake of ours")

        wish = EventRequest("Freeze", ("lone",), notice_s=5)
        _, error = await asyncio.gather(
            room.events_service.declare(wish, "me"),
            room.events_service.event_writer.do(broken),
            return_exceptions=True,
        )
        assert isinstance(error, RuntimeError)
        await until(lambda: room.events_service.event_writer._timer is not None)
        timer = room.events_service.event_writer._timer
        assert timer
        assert timer.when() - asyncio.get_running_loop().time() <= 5

    play(work)


def test_jobs_that_come_together_share_a_write_and_the_mistake_of_one_is_its_own() -> None:
    async def work(room: Room) -> None:
        (event,) = await room.events_service.declare(REBOOT, "me")

        def broken(*_: object) -> Any:
            raise RuntimeError("a mistake of ours")

        made = await asyncio.gather(
            room.approve("as-1", event),
            room.events_service.event_writer.do(broken),
            room.events_service.declare(EventRequest("Freeze", ("lone",)), "me"),
            return_exceptions=True,
        )
        assert made[0] == Approved()
        assert isinstance(made[1], RuntimeError)
        assert room.shown()["DocumentIncarnation"] == 2
        assert room.shown("vm:lone")["DocumentIncarnation"] == 1

    play(work)


@pytest.mark.parametrize(
    "wish, where",
    [
        (EventRequest("Reboot", ("none",)), "vms"),
        (EventRequest("Boot", ("as-1",)), "type"),
        (EventRequest("Reboot", ("as-1",), notice_s=-1), "in_s"),
        (EventRequest("Reboot", ("as-1",), notice_s=1, not_before_s=NOW_S + 9), "not_before"),
        (EventRequest("Reboot", ("as-1",), not_before_s=NOW_S - 1), "not_before"),
        (EventRequest("Reboot", ("as-1",), not_before_s=NOW_S + 1e10), "not_before"),
        (EventRequest("Reboot", ("as-1",), needs="most"), "needs"),
    ],
)
def test_a_wish_that_cannot_be_is_refused_with_its_place(wish: EventRequest, where: str) -> None:
    async def work(room: Room) -> None:
        with pytest.raises(ConfigError) as caught:
            await room.events_service.declare(wish, "me")
        assert caught.value.where == where
        assert room.events_service.events() == []

    play(work)


def test_not_before_is_what_was_wished_to_the_second() -> None:
    async def work(room: Room) -> None:
        room.now_s += 0.3
        (event,) = await room.events_service.declare(
            EventRequest("Reboot", ("as-1",), not_before_s=NOW_S + 77), "me"
        )
        assert event.not_before_s == NOW_S + 77

    play(work)


def test_the_operator_starts_completes_cancels_and_approves() -> None:
    async def work(room: Room) -> None:
        events_service = room.events_service
        first, second = [
            (
                await events_service.declare(
                    EventRequest("Reboot", ("as-1", "as-2"), needs="all"), "me"
                )
            )[0]
            for _ in range(2)
        ]
        approved = await events_service.order(Trigger.APPROVED, first.event_id.lower(), "me")
        assert isinstance(approved, Event)
        assert (approved.status, approved.approvals) == (EventStatus.STARTED, ("as-1", "as-2"))
        again = await events_service.order(Trigger.APPROVED, first.event_id, "me")
        assert again == approved
        refused = await events_service.order(Trigger.CANCEL, first.event_id, "me")
        assert isinstance(refused, TransitionRefusal)
        assert refused.reason is RefusalReason.STATUS
        over = await events_service.order(Trigger.COMPLETE, first.event_id, "me")
        assert isinstance(over, Event)
        assert over.status is EventStatus.COMPLETED
        assert isinstance(await events_service.order(Trigger.START, second.event_id, "me"), Event)
        for trigger in (Trigger.APPROVED, Trigger.START):
            gone = await events_service.order(trigger, first.event_id, "me")
            assert isinstance(gone, TransitionRefusal)
            assert gone.reason is RefusalReason.UNKNOWN
        (advice,) = await events_service.declare(
            EventRequest("SpotRebalanceRecommendation", ("lone",)), "me"
        )
        refused = await events_service.order(Trigger.APPROVED, advice.event_id, "me")
        assert isinstance(refused, TransitionRefusal)
        assert {who for _, who in await room.log()} == {"me"}

    play(work)


def test_a_scope_that_has_to_ask_first_sees_nothing_for_a_while() -> None:
    async def work(room: Room) -> None:
        (event,) = await room.events_service.declare(REBOOT, "me")
        assert room.shown() == {"DocumentIncarnation": 0, "Events": []}
        assert await room.approve("as-1", event) == Failed("malformed_events")
        room.now_s += 299
        assert room.shown()["Events"] == []
        room.now_s += 1
        assert room.shown()["DocumentIncarnation"] == 1
        assert await room.approve("as-1", event) == Approved()
        # A clock that is set back takes nothing away from who has asked for long enough.
        room.now_s -= 3600
        assert room.shown()["DocumentIncarnation"] == 2
        room.now_s += 86_400
        assert room.shown() == {"DocumentIncarnation": 0, "Events": []}

    play(work, activity=ScopeActivity())
