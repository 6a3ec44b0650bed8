"""Scenarios: recurring events through jumps, restarts and changes of the fleet."""

from typing import Any

import msgspec.json
import pytest
from msgspec.structs import replace

from openimds.errors import ConfigError
from openimds.events.scenario import (
    FLEET,
    Scenario,
    ScenarioRun,
    ScenarioTable,
    begin,
    digest_of,
    next_of,
)
from openimds.protocol.events import schedule
from openimds.protocol.events.schedule import read_lines
from tests.unit.events.setup import NOW_S, EventsRun, run, until


def test_lines_bring_events_at_their_times_and_once() -> None:
    async def work(events_run: EventsRun) -> None:
        lines = read_lines(
            [
                {"type": "Freeze", "vms": ["lone"], "at_s": 10, "life_s": 5, "notice_s": 5},
                {"type": "Reboot", "vms": ["as-1", "lone"], "at_s": 60, "every_s": 100},
            ]
        )
        await events_run.events_service.begin(FLEET, lines, is_once=True)
        await events_run.events_service.begin(FLEET, lines, is_once=True)
        assert events_run.events_service.events() == []
        await events_run.pass_time(10)
        assert events_run.document("vm:lone")["DocumentIncarnation"] == 1
        await events_run.pass_time(150)
        assert [event.event_type for event in events_run.events_service.events()] == ["Reboot"] * 4
        times = [event.created_s - NOW_S for event in events_run.events_service.events()]
        assert times == [60, 60, 160, 160]
        # The Freeze was declared, started and completed.
        assert events_run.events_service.event_writer.transition_counts["over"] == 1
        again = await EventsRun(events_run.store).load()
        again.now_s = events_run.now_s
        await again.events_service.begin(FLEET, lines, is_once=True)
        assert len(again.events_service.events()) == 4
        await again.close()
        again.fleet_service._thread.shutdown()

    run(work)


def test_long_jump_goes_through_every_event() -> None:
    async def work(events_run: EventsRun) -> None:
        line = {"type": "Freeze", "vms": ["lone"], "every_s": 1, "notice_s": 0, "life_s": 0}
        await events_run.events_service.begin("soak", read_lines([line]))
        await events_run.pass_time(1000)
        await until(lambda: events_run.events_service.scenarios.due_s == NOW_S + 1001)
        assert events_run.events_service.event_writer.transition_counts == {
            "declared": 1001,
            "not-before": 1001,
            "over": 1001,
        }
        assert events_run.document("vm:lone") == {"DocumentIncarnation": 3003, "Events": []}

    run(work)


def test_scenario_is_ended_and_begun_anew() -> None:
    async def work(events_run: EventsRun) -> None:
        lines = read_lines([{"type": "Freeze", "vms": ["lone"], "at_s": 5}])
        await events_run.events_service.begin("x", lines)
        assert await events_run.events_service.end("x")
        assert not await events_run.events_service.end("x")
        await events_run.pass_time(60)
        assert events_run.events_service.events() == []
        for _ in range(2):
            await events_run.events_service.begin("x", lines)
            await events_run.pass_time(60)
        assert len(events_run.events_service.events()) == 2

    run(work)


def test_removed_vm_is_left_out_with_a_notice() -> None:
    async def work(events_run: EventsRun) -> None:
        line = {"type": "Freeze", "vms": ["lone", "as-1"], "at_s": 5}
        await events_run.events_service.begin("x", read_lines([line]))
        events_run.fleet_index.apply(events_run.fleet_index.plan([], ["lone"]))
        await events_run.pass_time(5)
        assert [event.vms for event in events_run.events_service.events()] == [("as-1",)]
        assert events_run.notices == ["a scenario names VMs that are not served: lone"]

    run(work)


def test_line_without_vms_delays_no_job_and_is_noticed_once() -> None:
    async def work(events_run: EventsRun) -> None:
        line = {"type": "Freeze", "vms": ["lone"], "every_s": 1}
        await events_run.events_service.begin("x", read_lines([line]))
        (event,) = events_run.events_service.events()
        events_run.fleet_index.apply(events_run.fleet_index.plan([], ["lone"]))
        await events_run.pass_time(1000)
        # A part of the times, then the other jobs have their turn.
        assert events_run.events_service.scenarios.due_s == NOW_S + 201
        await until(lambda: events_run.events_service.scenarios.due_s == NOW_S + 1001)
        assert events_run.events_service.event_writer.transition_counts["declared"] == 1
        assert events_run.notices == ["a scenario names VMs that are not served: lone"]
        assert event.vms == ("lone",)

    run(work)


def test_line_with_a_count_ends_after_a_restart() -> None:
    async def work(events_run: EventsRun) -> None:
        line = {"type": "Freeze", "vms": ["lone"], "mean_s": 10, "seed": "a", "count": 3}
        await events_run.events_service.begin("x", read_lines([line]))
        while len(events_run.events_service.events()) < 2:
            assert events_run.events_service.scenarios.due_s is not None
            await events_run.pass_time(events_run.events_service.scenarios.due_s - events_run.now_s)
        again = await EventsRun(events_run.store).load()
        again.now_s = events_run.now_s
        await again.pass_time(100_000)
        assert again.events_service.scenarios.due_s is None
        assert again.events_service.event_writer.transition_counts["declared"] == 1
        await again.close()
        again.fleet_service._thread.shutdown()

    run(work)


def test_end_of_a_long_line_costs_no_more_than_its_beginning(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    draws: list[int] = []
    chance = schedule._chance

    def count(*facts: Any) -> float:
        draws.append(1)
        return chance(*facts)

    monkeypatch.setattr(schedule, "_chance", count)
    recurring = schedule.RecurringEvent("Freeze", ("lone",), first_s=0.0, mean_s=1, count=100_000)
    scenarios = ScenarioTable(
        {"x": Scenario("x", "", 0.0, (ScenarioRun(recurring, 90_000.0, 90_000.0, 90_000),))}
    )
    due = next_of(scenarios, 90_000.0)
    assert due is not None
    (run,) = due[2].scenarios["x"].runs
    later = schedule.occurrences(replace(recurring, count=0), 90_000.0, 99_999.0)
    assert (run.done, run.next_s) == (90_001, next(later))
    assert len(draws) < 200


def test_unknown_vm_is_refused() -> None:
    async def work(events_run: EventsRun) -> None:
        with pytest.raises(ConfigError) as caught:
            await events_run.events_service.begin(
                "x", read_lines([{"type": "Freeze", "vms": ["lon"]}])
            )
        assert (caught.value.where, caught.value.hint) == (
            "events[0].vms",
            'Did you mean "lone"?',
        )

    run(work)


LINES = [
    {
        "type": "Reboot",
        "vms": ["web-1", "web-2"],
        "at_s": 60,
        "every_s": 3600.0,
        "count": 3,
        "notice_s": 30.5,
        "duration_s": 9,
        "life_s": 20,
        "description": 'Kernel "update" é',
        "source": "User",
        "needs": "all",
    },
    {"type": "Preempt", "vms": ["web-1"], "mean_s": 600, "seed": "green"},
]
DIGEST_OF_0_1_0 = "9e3ee3b91fe9ce0b601f444ef2a73974db6431b8b3c202f29dd889970b658a42"
TABLE_OF_0_1_0 = (
    b'{"scenarios":{"fleet":{"name":"fleet",'
    b'"digest":"9e3ee3b91fe9ce0b601f444ef2a73974db6431b8b3c202f29dd889970b658a42",'
    b'"begun_s":1700000000.25,"runs":[{"plan":{"event_type":"Reboot","vms":["web-1","web-2"],'
    b'"first_s":1700000060.25,"every_s":3600.0,"mean_s":0,"seed":"","count":3,"notice_s":30.5,'
    b'"duration_s":9,"life_s":20,"description":"Kernel \\"update\\" \xc3\xa9","source":"User",'
    b'"needs":"all"},"until_s":1700000000.25,"next_s":1700000060.25,"done":0},'
    b'{"plan":{"event_type":"Preempt","vms":["web-1"],"first_s":1700000000.25,"every_s":0,'
    b'"mean_s":600,"seed":"green","count":0,"notice_s":null,"duration_s":null,"life_s":null,'
    b'"description":null,"source":null,"needs":"any"},"until_s":1700000000.25,'
    b'"next_s":1700001441.613218,"done":0}]}}}'
)


def test_stored_table_of_0_1_0_is_read() -> None:
    expected = begin(ScenarioTable(), FLEET, schedule.read_lines(LINES), 1_700_000_000.25)
    assert msgspec.json.decode(TABLE_OF_0_1_0, type=ScenarioTable) == expected


def test_digest_equals_that_of_0_1_0() -> None:
    assert digest_of(schedule.read_lines(LINES)) == DIGEST_OF_0_1_0


def test_stored_table_keeps_the_names_of_0_1_0() -> None:
    table = msgspec.json.decode(TABLE_OF_0_1_0, type=ScenarioTable)
    stored = msgspec.json.decode(msgspec.json.encode(table))["scenarios"]["fleet"]["runs"]
    old = msgspec.json.decode(TABLE_OF_0_1_0)["scenarios"]["fleet"]["runs"]
    for new_run, old_run in zip(stored, old, strict=True):
        assert new_run.keys() == old_run.keys()
        assert new_run["plan"].items() >= old_run["plan"].items()
