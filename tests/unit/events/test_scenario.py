"""Scenarios: lines that come by themselves, through jumps, restarts and changes of the fleet."""

from typing import Any

import pytest
from msgspec.structs import replace

from openimds.errors import ConfigError
from openimds.events.scenario import FLEET, Scenario, ScenarioRun, ScenarioTable, next_of
from openimds.protocol.events import schedule as plans_of_time
from openimds.protocol.events.input import plans
from tests.unit.events.setup import NOW_S, Room, play, until


def test_lines_come_in_their_time_and_once() -> None:
    async def work(room: Room) -> None:
        lines = plans(
            [
                {"type": "Freeze", "vms": ["lone"], "at_s": 10, "life_s": 5, "notice_s": 5},
                {"type": "Reboot", "vms": ["as-1", "lone"], "at_s": 60, "every_s": 100},
            ]
        )
        await room.events_service.begin(FLEET, lines, is_once=True)
        await room.events_service.begin(FLEET, lines, is_once=True)
        assert room.events_service.events() == []
        await room.pass_time(10)
        assert room.shown("vm:lone")["DocumentIncarnation"] == 1
        await room.pass_time(150)
        assert [one.event_type for one in room.events_service.events()] == ["Reboot"] * 4
        times = [one.created_s - NOW_S for one in room.events_service.events()]
        assert times == [60, 60, 160, 160]
        # The Freeze came, started and went, and the log knows.
        assert room.events_service.event_writer.moves["over"] == 1
        again = await Room(room.store).load()
        again.now_s = room.now_s
        await again.events_service.begin(FLEET, lines, is_once=True)
        assert len(again.events_service.events()) == 4
        await again.close()
        again.fleet_service._thread.shutdown()

    play(work)


def test_a_long_jump_goes_through_all_of_it() -> None:
    async def work(room: Room) -> None:
        line = {"type": "Freeze", "vms": ["lone"], "every_s": 1, "notice_s": 0, "life_s": 0}
        await room.events_service.begin("soak", plans([line]))
        await room.pass_time(1000)
        await until(lambda: room.events_service.book.due_s == NOW_S + 1001)
        assert room.events_service.event_writer.moves == {
            "declared": 1001,
            "not-before": 1001,
            "over": 1001,
        }
        assert room.shown("vm:lone") == {"DocumentIncarnation": 3003, "Events": []}

    play(work)


def test_it_can_be_ended_and_begun_anew() -> None:
    async def work(room: Room) -> None:
        lines = plans([{"type": "Freeze", "vms": ["lone"], "at_s": 5}])
        await room.events_service.begin("x", lines)
        assert await room.events_service.end("x")
        assert not await room.events_service.end("x")
        await room.pass_time(60)
        assert room.events_service.events() == []
        for _ in range(2):
            await room.events_service.begin("x", lines)
            await room.pass_time(60)
        assert len(room.events_service.events()) == 2

    play(work)


def test_a_vm_that_is_gone_is_left_out_and_told() -> None:
    async def work(room: Room) -> None:
        line = {"type": "Freeze", "vms": ["lone", "as-1"], "at_s": 5}
        await room.events_service.begin("x", plans([line]))
        room.fleet_index.apply(room.fleet_index.plan([], ["lone"]))
        await room.pass_time(5)
        assert [one.concerned for one in room.events_service.events()] == [("as-1",)]
        assert room.told == ["a scenario names VMs that are gone: lone"]

    play(work)


def test_a_plan_whose_vms_are_all_gone_delays_nobody_and_is_told_once() -> None:
    async def work(room: Room) -> None:
        line = {"type": "Freeze", "vms": ["lone"], "every_s": 1}
        await room.events_service.begin("x", plans([line]))
        (event,) = room.events_service.events()
        room.fleet_index.apply(room.fleet_index.plan([], ["lone"]))
        await room.pass_time(1000)
        # A part of it, then whoever else waits has his turn.
        assert room.events_service.book.due_s == NOW_S + 201
        await until(lambda: room.events_service.book.due_s == NOW_S + 1001)
        assert room.events_service.event_writer.moves["declared"] == 1
        assert room.told == ["a scenario names VMs that are gone: lone"]
        assert event.concerned == ("lone",)

    play(work)


def test_a_line_with_a_count_ends_though_a_restart_lies_between() -> None:
    async def work(room: Room) -> None:
        line = {"type": "Freeze", "vms": ["lone"], "mean_s": 10, "seed": "a", "count": 3}
        await room.events_service.begin("x", plans([line]))
        while len(room.events_service.events()) < 2:
            assert room.events_service.book.due_s is not None
            await room.pass_time(room.events_service.book.due_s - room.now_s)
        again = await Room(room.store).load()
        again.now_s = room.now_s
        await again.pass_time(100_000)
        assert again.events_service.book.due_s is None
        assert again.events_service.event_writer.moves["declared"] == 1
        await again.close()
        again.fleet_service._thread.shutdown()

    play(work)


def test_the_end_of_a_long_line_comes_as_quickly_as_its_beginning(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    draws: list[int] = []
    chance = plans_of_time._chance

    def count(*facts: Any) -> float:
        draws.append(1)
        return chance(*facts)

    monkeypatch.setattr(plans_of_time, "_chance", count)
    plan = plans_of_time.RecurringEvent("Freeze", ("lone",), 0.0, mean_s=1, count=100_000)
    book = ScenarioTable(
        {"x": Scenario("x", "", 0.0, (ScenarioRun(plan, 90_000.0, 90_000.0, 90_000),))}
    )
    found = next_of(book, 90_000.0)
    assert found is not None
    (run,) = found[2].scenarios["x"].runs
    later = plans_of_time.occurrences(replace(plan, count=0), 90_000.0, 99_999.0)
    assert (run.done, run.next_s) == (90_001, next(later))
    assert len(draws) < 200


def test_a_vm_that_never_was_is_refused() -> None:
    async def work(room: Room) -> None:
        with pytest.raises(ConfigError) as caught:
            await room.events_service.begin("x", plans([{"type": "Freeze", "vms": ["lon"]}]))
        assert (caught.value.where, caught.value.hint) == (
            "events[0].vms",
            'Did you mean "lone"?',
        )

    play(work)
