"""The events service: documents for guests, orders of operators, the stored log."""

import asyncio
from typing import Any

import pytest

from openimds.errors import ConfigError
from openimds.events.writer import PublishedScope
from openimds.facts.events import EventStatus, Trigger
from openimds.fleet.quarantine import QuarantinedVm
from openimds.fleet.store.port import EventBatch, StoreError
from openimds.protocol.events.document import ScopeActivity
from openimds.protocol.events.event import Event
from openimds.protocol.events.request import EventRequest
from openimds.protocol.events.state_machine import RefusalReason, TransitionRefusal
from openimds.protocol.pending import Approved, Failed, PendingEventsDocument
from openimds.vm.fleet_file import parse_fleet, parse_vm
from openimds.vm.types import Vm
from tests.unit.admin.setup import FailingStore
from tests.unit.events.setup import NOW_S, SCOPE, VMS, EventsRun, run, until

REBOOT = EventRequest("Reboot", ("as-1",))


def test_members_of_a_scope_share_one_document() -> None:
    async def work(events_run: EventsRun) -> None:
        (event,) = await events_run.events_service.declare(REBOOT, "me")
        assert events_run.document()["Events"][0]["Resources"] == ["first"]
        assert events_run.document("vm:lone") == {"DocumentIncarnation": 0, "Events": []}
        need = PendingEventsDocument("as-2", SCOPE, "2020-07-01")
        before = events_run.events_service.cached(need, events_run.now_s)
        assert events_run.events_service.cached(need, events_run.now_s + 99) is before
        assert await events_run.approve("as-2", event) == Approved()
        assert events_run.events_service.cached(need, events_run.now_s) is not before
        assert events_run.document()["Events"][0]["EventStatus"] == "Started"
        assert await events_run.log() == [("declared", "me"), ("approved", "as-2")]
        assert events_run.events_service.counts() == {"Scheduled": 0, "Started": 1}

    run(work)


def test_approval_that_is_not_enough_keeps_the_document() -> None:
    async def work(events_run: EventsRun) -> None:
        request = EventRequest("Reboot", ("as-1", "as-2"), needs="all")
        (event,) = await events_run.events_service.declare(request, "me")
        need = PendingEventsDocument("as-2", SCOPE, "2020-07-01")
        before = events_run.events_service.cached(need, events_run.now_s)
        assert await events_run.approve("as-2", event) == Approved()
        assert events_run.events_service.cached(need, events_run.now_s) is before
        stored = events_run.events_service.get(event.event_id)
        assert stored
        assert stored.approvals == ("as-2",)
        assert await events_run.approve("as-1", event) == Approved()
        assert events_run.document()["Events"][0]["EventStatus"] == "Started"

    run(work)


def test_unknown_id_approves_nothing() -> None:
    async def work(events_run: EventsRun) -> None:
        (event,) = await events_run.events_service.declare(REBOOT, "me")
        assert await events_run.approve("lone", event, scope="vm:lone") == Failed(
            "malformed_events"
        )
        assert events_run.document()["DocumentIncarnation"] == 1

    run(work)


def test_failing_store_leaves_every_event_as_it_was() -> None:
    async def work(events_run: EventsRun) -> None:
        (event,) = await events_run.events_service.declare(REBOOT, "me")
        before = events_run.document()
        events_run.store.fails = {"write_events"}
        assert await events_run.approve("as-1", event) == Failed("unavailable")
        with pytest.raises(StoreError):
            await events_run.events_service.declare(REBOOT, "me")
        with pytest.raises(StoreError):
            await events_run.events_service.order(Trigger.START, event.event_id, "me")
        assert events_run.document() == before
        assert len(events_run.events_service.events()) == 1
        assert events_run.notices == ["as-1 could not approve an event: fleet.db: the disk is full"]
        events_run.store.fails.clear()
        assert await events_run.approve("as-1", event) == Approved()
        assert events_run.document()["DocumentIncarnation"] == 2

    run(work)


def test_new_process_resumes_from_the_store() -> None:
    async def work(events_run: EventsRun) -> None:
        (first,) = await events_run.events_service.declare(REBOOT, "me")
        await events_run.events_service.declare(
            EventRequest("Freeze", ("as-2",), notice_s=60), "me"
        )
        await events_run.approve("as-1", first)
        state = events_run.clock.planned(offset_s=5)
        await events_run.events_service.set_clock(state)
        again = await EventsRun(events_run.store).load()
        assert again.document() == events_run.document()
        assert again.events_service.events() == events_run.events_service.events()
        assert again.clock() == NOW_S + 5
        assert again.fleet_service.last_log_entry == 3
        await again.close()
        # Transitions that came due meanwhile are made at their own times.
        late = EventsRun(events_run.store)
        late.now_s += 100
        await late.load()
        assert late.document()["DocumentIncarnation"] == 4
        assert [event["EventStatus"] for event in late.document()["Events"]] == [
            "Started",
            "Started",
        ]
        await late.close()
        late.fleet_service._thread.shutdown()
        again.fleet_service._thread.shutdown()

    run(work)


def test_time_alone_starts_and_ends_an_event() -> None:
    async def work(events_run: EventsRun) -> None:
        await events_run.events_service.declare(
            EventRequest("Freeze", ("as-2",), notice_s=60, life_s=30), "me"
        )
        await events_run.pass_time(59.5)
        assert events_run.document()["Events"][0]["EventStatus"] == "Scheduled"
        await events_run.pass_time(0.5)
        assert events_run.document()["Events"][0]["EventStatus"] == "Started"
        await events_run.pass_time(3600)
        assert events_run.document() == {"DocumentIncarnation": 3, "Events": []}
        entries = await events_run.fleet_service.call_store(events_run.store.log_entries, 0, 9)
        assert [(entry.who, entry.at) for entry in entries[1:]] == [
            ("time", "2026-11-22T19:55:46.000Z"),
            ("time", "2026-11-22T19:56:16.000Z"),
        ]

    run(work)


def test_timer_wakes_at_the_due_time_and_retries() -> None:
    async def work(events_run: EventsRun) -> None:
        await events_run.events_service.declare(
            EventRequest("Freeze", ("as-2",), notice_s=60), "me"
        )
        timer = events_run.events_service.event_writer._timer
        assert timer
        wait_s = timer.when() - asyncio.get_running_loop().time()
        assert 29 < wait_s <= 30  # It looks again before: the wall clock may be set.
        events_run.now_s += 60
        events_run.store.fails = {"write_events"}
        events_run.events_service.event_writer._wake()
        await until(lambda: bool(events_run.notices))
        assert events_run.notices == ["an event is late: fleet.db: the disk is full"]
        retry = events_run.events_service.event_writer._timer
        assert retry
        assert retry.when() - asyncio.get_running_loop().time() <= 2
        events_run.store.fails.clear()
        events_run.events_service.event_writer._wake()
        await until(lambda: events_run.document()["Events"][0]["EventStatus"] == "Started")

    run(work)


def test_timer_is_set_though_a_job_beside_failed() -> None:
    async def work(events_run: EventsRun) -> None:
        def broken(*_: object) -> Any:
            raise RuntimeError("a broken job")

        request = EventRequest("Freeze", ("lone",), notice_s=5)
        _, error = await asyncio.gather(
            events_run.events_service.declare(request, "me"),
            events_run.events_service.event_writer.do(broken),
            return_exceptions=True,
        )
        assert isinstance(error, RuntimeError)
        await until(lambda: events_run.events_service.event_writer._timer is not None)
        timer = events_run.events_service.event_writer._timer
        assert timer
        assert timer.when() - asyncio.get_running_loop().time() <= 5

    run(work)


def test_failing_job_does_not_fail_the_jobs_beside_it() -> None:
    async def work(events_run: EventsRun) -> None:
        (event,) = await events_run.events_service.declare(REBOOT, "me")

        def broken(*_: object) -> Any:
            raise RuntimeError("a broken job")

        results = await asyncio.gather(
            events_run.approve("as-1", event),
            events_run.events_service.event_writer.do(broken),
            events_run.events_service.declare(EventRequest("Freeze", ("lone",)), "me"),
            return_exceptions=True,
        )
        assert results[0] == Approved()
        assert isinstance(results[1], RuntimeError)
        assert events_run.document()["DocumentIncarnation"] == 2
        assert events_run.document("vm:lone")["DocumentIncarnation"] == 1

    run(work)


@pytest.mark.parametrize(
    "bad, where",
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
def test_bad_request_is_refused_with_its_path(bad: EventRequest, where: str) -> None:
    async def work(events_run: EventsRun) -> None:
        with pytest.raises(ConfigError) as caught:
            await events_run.events_service.declare(bad, "me")
        assert caught.value.where == where
        assert events_run.events_service.events() == []

    run(work)


def test_requested_not_before_is_kept_to_the_second() -> None:
    async def work(events_run: EventsRun) -> None:
        events_run.now_s += 0.3
        (event,) = await events_run.events_service.declare(
            EventRequest("Reboot", ("as-1",), not_before_s=NOW_S + 77), "me"
        )
        assert event.not_before_s == NOW_S + 77

    run(work)


def test_operator_starts_completes_cancels_and_approves() -> None:
    async def work(events_run: EventsRun) -> None:
        events_service = events_run.events_service
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
        completed = await events_service.order(Trigger.COMPLETE, first.event_id, "me")
        assert isinstance(completed, Event)
        assert completed.status is EventStatus.COMPLETED
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
        assert {who for _, who in await events_run.log()} == {"me"}

    run(work)


def test_inactive_scope_sees_an_empty_document() -> None:
    async def work(events_run: EventsRun) -> None:
        (event,) = await events_run.events_service.declare(REBOOT, "me")
        assert events_run.document() == {"DocumentIncarnation": 0, "Events": []}
        assert await events_run.approve("as-1", event) == Failed("malformed_events")
        events_run.now_s += 299
        assert events_run.document()["Events"] == []
        events_run.now_s += 1
        assert events_run.document()["DocumentIncarnation"] == 1
        assert await events_run.approve("as-1", event) == Approved()
        # A scope stays active when the clock is set back.
        events_run.now_s -= 3600
        assert events_run.document()["DocumentIncarnation"] == 2
        events_run.now_s += 86_400
        assert events_run.document() == {"DocumentIncarnation": 0, "Events": []}

    run(work, activity=ScopeActivity())


def test_unreadable_rows_stop_no_start() -> None:
    async def work(events_run: EventsRun) -> None:
        (event,) = await events_run.events_service.declare(EventRequest("Reboot", ("lone",)), "ops")
        bodies: dict[str, bytes | None] = {"X": b"{damaged", "Y": b'{"event_id": "Y"}'}
        values: dict[str, bytes | None] = {"clock": b"noon", "scenarios": b"[]"}
        events_run.store.write_events(EventBatch(bodies, values=values))
        again = EventsRun(events_run.store)
        await again.load()
        assert [one.event_id for one in again.events_service.events()] == [event.event_id]
        assert len(events_run.store.events()) == 3
        assert [notice.partition(":")[0] for notice in again.notices] == [
            "the stored clock is left out, and the real time counts",
            "2 stored events are left out and stay in the store",
            "the stored scenarios are left out, and begin anew",
        ]
        assert again.clock.state.rate == 1
        await again.events_service.close()

    run(work)


async def put(run: EventsRun, value: dict[str, Any]) -> None:
    """Replace the first VM of the set."""
    await run.fleet_service.put(parse_vm("as-1", value), "operator")


def test_moved_vm_sees_a_higher_incarnation_also_after_a_restart() -> None:
    async def work() -> None:
        run = await EventsRun().load()
        await run.events_service.declare(EventRequest("Reboot", ("as-1",)), "operator")
        seen = run.document()["DocumentIncarnation"]
        await put(run, {})
        moved = run.document("vm:as-1")
        assert (moved["Events"], moved["DocumentIncarnation"]) == ([], seen + 1)
        again = await EventsRun(run.store).load()
        assert again.document("vm:as-1") == moved
        # Back in its set, it must not take the set's document for the one that it has.
        await put(run, {"availabilitySet": "as"})
        assert run.document()["DocumentIncarnation"] == seen + 2
        assert len(run.document()["Events"]) == 1

    asyncio.run(work())


def test_vm_is_not_moved_if_its_incarnation_is_not_stored() -> None:
    async def work() -> None:
        run = await EventsRun().load()
        await run.events_service.declare(EventRequest("Reboot", ("as-1",)), "operator")
        await put(run, {"availabilitySet": "as", "compute": {"zone": "1"}})
        run.store.fails = {"write_events"}
        with pytest.raises(StoreError):
            await put(run, {})
        assert run.fleet_index.by_name["as-1"].vm.availability_set == "as"
        await put(run, {"availabilitySet": "as", "compute": {"zone": "2"}})

    asyncio.run(work())


def test_move_before_loading_counts_from_the_stored_number() -> None:
    async def work() -> None:
        first = await EventsRun().load()
        await first.events_service.declare(EventRequest("Reboot", ("as-1",)), "operator")
        seen = first.document()["DocumentIncarnation"]
        run = EventsRun(first.store)
        index = run.fleet_index
        index.apply(index.plan(parse_fleet({"vms": VMS}).vms.values()))
        await run.events_service.before_change(index.plan([Vm("as-1"), Vm("as-2"), Vm("new")]))
        await run.events_service.load()
        assert len(run.document()["Events"]) == 1
        for scope in ("vm:as-1", "vm:as-2"):
            assert run.document(scope) == {"DocumentIncarnation": seen + 1, "Events": []}

    asyncio.run(work())


def test_unused_scopes_are_forgotten_and_numbers_never_fall(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("openimds.events.writer.MOST_UNUSED", 1)

    async def work() -> None:
        store = FailingStore()
        unused = {"vm:gone-1": 9, "vm:gone-2": 5, "vm:gone-3": 2}
        store.write_events(EventBatch(incarnations={"vm:lone": 4, **unused}))
        await EventsRun(store).load()
        assert store.incarnations() == {"vm:lone": 4, **unused}
        store.write_events(EventBatch(incarnations={"vm:gone-4": 1}))
        run = await EventsRun(store).load()
        assert store.incarnations() == {"vm:lone": 4}
        assert run.document("vm:lone")["DocumentIncarnation"] == 4
        assert run.document()["DocumentIncarnation"] == 0
        await run.fleet_service.put(parse_vm("gone-2", {}), "operator")
        assert run.document("vm:gone-2") == {"DocumentIncarnation": 10, "Events": []}
        await run.fleet_service.put(parse_vm("lone", {"compute": {"zone": "1"}}), "operator")
        assert run.document("vm:lone")["DocumentIncarnation"] == 4
        later = await EventsRun(store).load()
        await later.fleet_service.put(parse_vm("gone-1", {}), "operator")
        assert later.document("vm:gone-1")["DocumentIncarnation"] == 10

    asyncio.run(work())


def test_unused_scopes_are_forgotten_while_the_service_runs(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("openimds.events.writer.MOST_UNUSED", -1)
    monkeypatch.setattr("openimds.events.writer._FORGET_AT_ONCE", 2)

    async def work() -> None:
        store = FailingStore()
        store.write_events(EventBatch(incarnations={"vm:gone-1": 9, "vm:gone-2": 5}))
        run = await EventsRun(store).load()
        writer, sent = run.events_service.event_writer, dict[str, PublishedScope]()

        async def take(scopes: dict[str, PublishedScope]) -> None:
            sent.update(scopes)

        writer.on_scopes = take
        await run.fleet_service.put(parse_vm("short", {}), "operator")
        await run.events_service.declare(EventRequest("Reboot", ("short",)), "operator")
        await run.fleet_service.remove("short", "operator")
        await writer.forget_unused()
        assert store.incarnations() == {"vm:gone-1": 9, "vm:gone-2": 5, "vm:short": 1}
        await run.fleet_service.put(parse_vm("lone", {"compute": {"zone": "1"}}), "operator")
        await run.events_service.declare(EventRequest("Reboot", ("lone",)), "operator")
        for event in run.events_service.events():
            if event.scope == "vm:short":
                await run.events_service.order(Trigger.CANCEL, event.event_id, "me")
        sent.clear()
        await writer.forget_unused()
        assert store.incarnations().keys() == {"vm:lone"}
        assert sent == dict.fromkeys(("vm:gone-1", "vm:gone-2", "vm:short"), PublishedScope())
        assert run.document("vm:gone-1")["DocumentIncarnation"] == 0
        await run.fleet_service.put(parse_vm("gone-2", {}), "operator")
        assert run.document("vm:gone-2") == {"DocumentIncarnation": 10, "Events": []}
        await run.close()

    asyncio.run(work())


def test_scopes_stay_while_the_store_takes_no_change(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("openimds.events.writer.MOST_UNUSED", 0)

    async def work() -> None:
        store = FailingStore()
        store.write_events(EventBatch(incarnations={f"vm:gone-{n}": n for n in range(9)}))
        store.fails = {"write_events"}
        run = await EventsRun(store).load()
        assert len(store.incarnations()) == 9
        with pytest.raises(StoreError):
            await run.events_service.event_writer.forget_unused()
        store.fails = set()
        await run.events_service.event_writer.forget_unused()
        assert store.incarnations() == {}
        await run.close()

    asyncio.run(work())


def test_no_scope_is_forgotten_while_a_vm_is_quarantined(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("openimds.events.writer.MOST_UNUSED", -9)

    async def work() -> None:
        run = EventsRun()
        run.store.write_events(EventBatch(incarnations={"vm:out": 4, "vm:gone": 2}))
        run.fleet_index.quarantine["out"] = QuarantinedVm("out", "a reason")
        await run.load()
        assert run.store.incarnations() == {"vm:out": 4, "vm:gone": 2}

    asyncio.run(work())
