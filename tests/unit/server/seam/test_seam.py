"""Control and its host at two ends of a channel."""

import asyncio
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from unittest.mock import AsyncMock, Mock, patch

import msgspec.json
import pytest

from openimds.errors import ConfigError, Error
from openimds.facts.events import EventStatus
from openimds.fleet.quarantine import TakenError
from openimds.protocol.events.request import EventRequest
from openimds.protocol.pending import Approved, Failed, PendingApproval, PendingEventsDocument
from openimds.server.seam import remote_host
from openimds.server.seam.channel import ChannelClosedError
from openimds.server.seam.events_follower import EventsFollower
from openimds.server.seam.host_end import MOST_UNSENT_BYTES, HostEnd
from openimds.server.seam.messages import SLICE, SLICE_BYTES, ScopeState, UpdateIndex
from openimds.vm.fleet_file import parse_vm
from tests.unit.server.seam.setup import EVENTS, NAME, Roles, with_roles


def vm(address: str, **more: Any) -> dict[str, Any]:
    return {"reach": {"address": [address]}, **more}


FLEET = {"vms": {"a": vm("10.0.0.1"), "b": vm("10.0.0.2")}}


def test_guests_are_served_the_fleet_of_control(tmp_path: Path) -> None:
    async def work(roles: Roles) -> None:
        assert [roles.name_at(f"10.0.0.{n}") for n in (1, 2, 3)] == ["a", "b", "404"]

    assert with_roles(tmp_path, work, FLEET)  # The unknown caller is reported.


def test_change_is_visible_to_guests_when_it_returns(tmp_path: Path) -> None:
    async def work(roles: Roles) -> None:
        service = roles.control.fleet_service
        await roles.put("c", vm("10.0.0.3"))
        assert roles.name_at("10.0.0.3") == "c"
        await service.patch("a", {"reach": {"address": ["10.0.0.9"]}}, "test")
        assert [roles.name_at(f"10.0.0.{n}") for n in (1, 9)] == ["404", "a"]
        await service.remove("b", "test")
        assert roles.name_at("10.0.0.2") == "404"

    with_roles(tmp_path, work, FLEET)


def test_fleet_of_many_slices_is_served_whole(tmp_path: Path) -> None:
    count = 2 * SLICE + 1
    fleet = {"vms": {f"v{n}": vm(f"10.1.{n >> 8}.{n & 255}") for n in range(count)}}

    async def work(roles: Roles) -> None:
        assert len(roles.host.fleet_index.by_name) == count
        last = count - 1
        assert roles.name_at(f"10.1.{last >> 8}.{last & 255}") == f"v{last}"

    with_roles(tmp_path, work, fleet)


def test_large_vms_pass_in_slices_of_few_octets(tmp_path: Path) -> None:
    large = {"compute": {"userData": "QUFB" * 16000}}
    fleet = {"vms": {f"v{n}": vm(f"10.1.0.{n}", **large) for n in range(60)}}
    slices: list[int] = []
    update = HostEnd._update

    def measured(end: HostEnd, message: UpdateIndex) -> None:
        slices.append(sum(len(one.packed) for one in message.puts))
        update(end, message)

    async def work(roles: Roles) -> None:
        assert len(roles.host.fleet_index.by_name) == len(fleet["vms"])

    with patch.object(HostEnd, "_update", measured):
        with_roles(tmp_path, work, fleet)
    assert len(slices) > 1
    assert max(slices) < 2 * SLICE_BYTES


def test_vms_renamed_in_one_edit_of_many_slices_are_served(tmp_path: Path) -> None:
    count = SLICE + 1

    def named(letter: str) -> dict[str, Any]:
        return {"vms": {f"{letter}{n:03}": vm(f"10.1.0.{n}") for n in range(count)}}

    async def work(roles: Roles) -> None:
        (tmp_path / "fleet.json").write_bytes(msgspec.json.encode(named("b")))
        await roles.control.reload()
        found = [roles.name_at(f"10.1.0.{n}") for n in range(count)]
        assert found == [f"b{n:03}" for n in range(count)]

    with_roles(tmp_path, work, named("a"))


def test_broken_fleet_file_keeps_a_new_control_from_nothing(tmp_path: Path) -> None:
    fleet = FLEET | {"faults": [{"effect": "status", "status": 410, "vms": ["b"]}]}
    text = msgspec.json.encode(fleet)

    async def work(roles: Roles) -> None:
        await roles.kill()
        (tmp_path / "fleet.json").write_text("{broken")
        await roles.begin()
        assert [roles.name_at(f"10.0.0.{n}") for n in (1, 2, 3)] == ["a", "410", "404"]
        await roles.put("c", vm("10.0.0.3"))
        assert roles.name_at("10.0.0.3") == "c"
        await roles.control.reload()
        assert any("fleet file not applied" in message for message in roles.messages)
        (tmp_path / "fleet.json").write_bytes(text.replace(b"10.0.0.1", b"10.0.0.9"))
        await roles.control.reload()
        assert [roles.name_at(f"10.0.0.{n}") for n in (1, 2, 9)] == ["404", "410", "a"]

    with_roles(tmp_path, work, fleet)


def test_restart_without_its_fleet_file_serves_no_default_vm(tmp_path: Path) -> None:
    async def work(roles: Roles) -> None:
        await roles.control.fleet_service.remove("a", "test")
        await roles.kill()
        (tmp_path / "fleet.json").unlink()
        await roles.begin()
        assert not roles.host.fleet_index.by_name

    with_roles(tmp_path, work, {"vms": {"a": vm("10.0.0.1")}})


def test_addresses_that_move_in_one_edit_of_many_slices_arrive(tmp_path: Path) -> None:
    count = 2 * SLICE
    names = [f"v{n:03}" for n in range(count)]
    fleet = {"vms": {name: vm(f"10.1.{n >> 8}.{n & 255}") for n, name in enumerate(names)}}
    turned = {
        "vms": {
            name: vm(f"10.1.{(n + 1) % count >> 8}.{(n + 1) % count & 255}")
            for n, name in enumerate(names)
        }
    }

    async def work(roles: Roles) -> None:
        (tmp_path / "fleet.json").write_bytes(msgspec.json.encode(turned))
        await roles.control.reload()
        found = [roles.name_at(f"10.1.{n >> 8}.{n & 255}") for n in range(count)]
        assert found == [names[(n - 1) % count] for n in range(count)]

    with_roles(tmp_path, work, fleet)


def test_listener_that_cannot_open_refuses_the_change(tmp_path: Path) -> None:
    async def work(roles: Roles) -> None:
        value = vm("10.0.0.3") | {"reach": {"listen": ["unix:/nowhere/at/all.sock"]}}
        with pytest.raises(TakenError) as caught:
            await roles.put("c", value)
        assert caught.value.where == "vms.c.reach.listen"
        assert "c" not in roles.host.fleet_index.by_name

    with_roles(tmp_path, work, FLEET)


def test_approval_of_a_guest_is_stored_before_it_returns(tmp_path: Path) -> None:
    async def work(roles: Roles) -> None:
        events = roles.control.events_service
        (event,) = await events.declare(EventRequest("Reboot", ("a",)), "test")
        document = msgspec.json.decode(roles.ask("10.0.0.1", EVENTS).body)
        assert [one["EventId"] for one in document["Events"]] == [event.event_id]
        need = PendingApproval("a", event.scope, (event.event_id,))
        assert await roles.host.pending.make(need, 0) == Approved()
        assert [one.status for one in events.events()] == [EventStatus.STARTED]
        document = msgspec.json.decode(roles.ask("10.0.0.1", EVENTS).body)
        assert document["Events"][0]["EventStatus"] == "Started"
        unknown = PendingApproval("a", event.scope, ("none",))
        assert await roles.host.pending.make(unknown, 0) == Failed("malformed_events")

    with_roles(tmp_path, work, FLEET)


def test_guests_are_served_on_without_control(tmp_path: Path) -> None:
    async def work(roles: Roles) -> None:
        (event,) = await roles.control.events_service.declare(EventRequest("Reboot", ("a",)), "t")
        await roles.kill()
        assert [roles.name_at(f"10.0.0.{n}") for n in (1, 2)] == ["a", "b"]
        need = PendingApproval("a", event.scope, (event.event_id,))
        assert await roles.host.pending.make(need, 0) == Failed("unavailable")
        shown = roles.host.pending.cached(PendingEventsDocument("a", event.scope, "2020-07-01"), 0)
        assert shown is not None

    messages = with_roles(tmp_path, work, FLEET)
    assert "a could not approve an event: the other process has ended" in messages


def test_approval_at_a_hung_control_ends_with_a_refusal(tmp_path: Path) -> None:
    async def work(roles: Roles) -> None:
        (event,) = await roles.control.events_service.declare(EventRequest("Reboot", ("a",)), "t")

        async def hang(_: PendingApproval) -> Approved:
            await asyncio.Event().wait()
            raise AssertionError

        follower = EventsFollower(hang, roles.host.clock, roles.messages.append, patience_s=0.01)
        need = PendingApproval("a", event.scope, (event.event_id,))
        assert await follower.approve(need) == Failed("unavailable")

    messages = with_roles(tmp_path, work, FLEET)
    assert "a could not approve an event: control has not answered within 0.01 s" in messages


def test_new_control_shows_what_the_store_has(tmp_path: Path) -> None:
    async def work(roles: Roles) -> None:
        await roles.put("c", vm("10.0.0.3"))
        (event,) = await roles.control.events_service.declare(EventRequest("Reboot", ("a",)), "t")
        kept = roles.host.fleet_index.by_name["a"].responses
        roles.ask("10.0.0.1")
        await roles.kill()
        # Control ended between the write of its store and its message: the snapshot mends it.
        from openimds.fleet.store.sqlite import SqliteStore

        store = SqliteStore(tmp_path / "fleet.db")
        from openimds.fleet.store.port import Write

        store.write([Write("c", None, "api")], "test", "2026-11-22T00:00:00.000+00:00")
        store.close()
        await roles.begin()
        assert [roles.name_at(f"10.0.0.{n}") for n in (1, 2, 3)] == ["a", "b", "404"]
        assert roles.host.fleet_index.by_name["a"].responses is kept
        document = msgspec.json.decode(roles.ask("10.0.0.1", EVENTS).body)
        assert [one["EventId"] for one in document["Events"]] == [event.event_id]

    with_roles(tmp_path, work, FLEET)


def test_faults_are_played_and_counted(tmp_path: Path) -> None:
    fleet = FLEET | {"faults": [{"effect": "status", "status": 410, "vms": ["b"]}]}

    async def work(roles: Roles) -> None:
        (of_api,) = await roles.control.faults.set(
            {"effect": "status", "status": 503, "vms": ["a"], "first": 1}
        )
        assert [roles.name_at("10.0.0.1") for _ in range(2)] == ["503", "a"]
        assert roles.name_at("10.0.0.2") == "410"
        counts = {fault.key: fault.counts for fault in await roles.control.faults.counted()}
        assert (counts[of_api.key].seen, counts[of_api.key].played) == (2, 1)
        await roles.kill()
        assert roles.name_at("10.0.0.2") == "410"
        await roles.begin()
        after = {fault.key: fault.counts for fault in await roles.control.faults.counted()}
        assert sorted((one.seen, one.played) for one in after.values()) == [(2, 1), (2, 2)]
        await roles.control.faults.clear()
        assert [roles.name_at(f"10.0.0.{n}") for n in (1, 2)] == ["a", "b"]

    with_roles(tmp_path, work, fleet)


def test_stale_document_of_a_large_fleet_needs_no_large_message(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The VMs as they were are those of the host."""
    data = {"userData": "eHh4" * 500}
    fleet = {"vms": {f"vm-{n}": vm(f"10.0.1.{n}", compute=data) for n in range(200)}}
    monkeypatch.setattr("openimds.server.seam.remote_host.SLICE_BYTES", 1 << 14)
    monkeypatch.setattr("openimds.server.seam.channel.MAX_FRAME_BYTES", 1 << 17)

    async def work(roles: Roles) -> None:
        await roles.control.faults.set({"effect": "stale-document"})
        renamed = {**vm("10.0.1.7"), "compute": {"name": "new", "vmSize": "S"}}
        await roles.put("vm-7", renamed)
        await roles.kill()
        assert roles.name_at("10.0.1.7") == "vm-7"
        await roles.begin()
        assert roles.name_at("10.0.1.7") == "vm-7"
        await roles.control.faults.clear()
        assert roles.name_at("10.0.1.7") == "new"

    with_roles(tmp_path, work, fleet)


def test_clock_of_guests_is_set(tmp_path: Path) -> None:
    async def work(roles: Roles) -> None:
        clock = roles.control.clock
        await roles.control.events_service.set_clock(clock.planned(now_s=2e9, rate=0))
        assert roles.host.dispatcher.utc() == 2e9
        await roles.kill()
        await roles.begin()
        assert roles.host.dispatcher.utc() == 2e9

    with_roles(tmp_path, work, FLEET, virtual_clock=True)


def test_records_are_read_and_followed(tmp_path: Path) -> None:
    async def work(roles: Roles) -> None:
        recording = roles.remote.recording
        feed = recording.subscribe()
        assert await recording.last_number() == 0
        for _ in range(SLICE + 2):
            roles.ask("10.0.0.1")
        records = await recording.records("a")
        assert [one.number for one in records] == list(range(1, SLICE + 3))
        assert await recording.records("b") == ()
        first = await feed.get()
        assert first is not None
        assert first.target == NAME
        recording.unsubscribe(feed)
        assert await recording.findings() == {"over_limit": SLICE - 3}
        await recording.clear()
        assert await recording.records() == ()

    with_roles(tmp_path, work, FLEET, record=1000)


def test_slow_follower_of_requests_gets_none_for_lost_ones(tmp_path: Path) -> None:
    async def work(roles: Roles) -> None:
        feed = roles.remote.recording.subscribe()
        await roles.remote.recording.last_number()  # The host follows from now on.
        roles.ask("10.0.0.1")
        record = await feed.get()
        assert record
        for _ in range(1100):
            roles.remote.recording.take(record)
        got = [feed.get_nowait() for _ in range(feed.qsize())]
        assert got == [*[record] * 999, None]

    with_roles(tmp_path, work, FLEET, record=10)


def test_records_are_left_out_while_control_does_not_read(tmp_path: Path) -> None:
    async def work(roles: Roles) -> None:
        feed = roles.remote.recording.subscribe()
        await roles.remote.recording.last_number()  # The host follows from now on.
        unsent = [MOST_UNSENT_BYTES, 0]
        roles.end.unsent_bytes = lambda: unsent.pop(0)
        for _ in range(2):
            roles.ask("10.0.0.1")
        record = await feed.get()
        assert record
        assert record.number == 2

    with_roles(tmp_path, work, FLEET, record=10)


def test_snapshot_of_large_vms_passes_in_small_messages(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tags = {"big": "x" * 200}
    fleet = {f"vm-{n}": vm(f"10.0.1.{n}", compute={"tags": tags}) for n in range(1, 60)}
    # All VMs in one message would be too large for the channel.
    monkeypatch.setattr("openimds.server.seam.channel.MAX_FRAME_BYTES", 8192)
    monkeypatch.setattr("openimds.server.seam.remote_host.SLICE_BYTES", 1000)

    async def work(roles: Roles) -> None:
        assert roles.name_at("10.0.1.59") == "vm-59"

    with_roles(tmp_path, work, {"vms": fleet})


def test_keys_and_certificates_are_those_of_the_host(tmp_path: Path) -> None:
    async def work(roles: Roles) -> None:
        credentials, now_s = roles.remote.credentials, roles.host.dispatcher.utc()
        await asyncio.to_thread(credentials.rotate, now_s)
        keys = await asyncio.to_thread(credentials.key_infos, now_s)
        assert [one.kid for one in keys] == [
            one.kid for one in roles.host.credentials.key_infos(now_s)
        ]
        bundle = await asyncio.to_thread(credentials.ca.bundle, now_s)
        assert bundle == roles.host.credentials.ca.bundle(now_s)
        publications = roles.remote.publications()
        assert await asyncio.to_thread(publications.bundle) == bundle
        with pytest.raises(ConfigError):
            await asyncio.to_thread(credentials.ca.revoke, "ff", "unspecified", now_s)

    with_roles(tmp_path, work, FLEET)


def test_questions_about_a_vm_are_answered_by_the_host(tmp_path: Path) -> None:
    async def work(roles: Roles) -> None:
        entry = roles.control.fleet_index.by_name["a"]
        answer = await roles.remote.get_as(entry.vm, NAME)
        assert answer.body == b"a"
        refused = await roles.remote.get_as(entry.vm, "/metadata/none")
        assert refused.body == (await roles.host.get_as(entry.vm, "/metadata/none")).body
        variables = await roles.remote.endpoint_variables(entry.vm, "http://10.0.0.1")
        assert variables == roles.host.identity_variables(entry.vm, "http://10.0.0.1")
        samples, own = await roles.remote.samples(), roles.host.metrics.samples()
        assert {name: samples[name] for name in own} == own
        started = samples["openimds_process_start_time_seconds"]
        assert isinstance(started, Mapping)
        assert {*started} == {("both",), ("control",)}

    with_roles(tmp_path, work, FLEET)


def test_call_after_the_end_of_the_other_process_fails(tmp_path: Path) -> None:
    async def work(roles: Roles) -> None:
        await roles.kill()
        with pytest.raises(ChannelClosedError):
            await roles.remote.fault_counts()

    with_roles(tmp_path, work, FLEET)


def test_collector_is_spared_the_vms_of_a_large_edit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spared: list[int] = []

    async def work(roles: Roles) -> None:
        monkeypatch.setattr("openimds.server.seam.host_end.FROZEN_EACH", SLICE)
        index = roles.host.fleet_index
        monkeypatch.setattr(
            "openimds.server.seam.host_end.gc",
            Mock(freeze=lambda: spared.append(len(index.by_name))),
        )
        service = roles.control.fleet_service
        await roles.put("a", vm("10.0.0.9"))
        assert spared == []
        vms = [parse_vm(f"v{n}", {}) for n in range(2 * SLICE)]
        await service.sync(vms, "other", "test")
        assert len(spared) == 2

    with_roles(tmp_path, work, FLEET)


def test_host_that_does_not_answer_is_not_ready(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(remote_host, "_PATIENCE_S", 0.01)

    async def work(roles: Roles) -> None:
        await roles.remote.check()
        await roles.remote.check()  # It has answered a moment ago.
        monkeypatch.setattr(remote_host, "_FRESH_S", 0.0)
        gate = asyncio.Event()

        async def hang(_: object) -> None:
            await gate.wait()

        assert roles.channel
        monkeypatch.setattr(roles.channel, "_answer", hang)
        with pytest.raises(Error, match="does not respond"):
            await roles.remote.check()
        gate.set()
        monkeypatch.undo()

    with_roles(tmp_path, work, FLEET)


def test_first_approval_is_taken_where_the_host_hides_events(tmp_path: Path) -> None:
    async def work(roles: Roles) -> None:
        (event,) = await roles.control.events_service.declare(EventRequest("Reboot", ("a",)), "t")
        need = PendingApproval("a", event.scope, (event.event_id,))
        assert await roles.host.pending.make(need, 0) == Approved()

    with_roles(tmp_path, work, FLEET, events_activation=True)


def test_forgotten_scope_takes_no_memory_of_the_host() -> None:
    async def send(_: PendingApproval) -> Approved | Failed:
        raise AssertionError("not called")

    follower = EventsFollower(send, lambda: 0.0, print)
    need = PendingEventsDocument("a", "vm:a", "2020-07-01")
    follower.take([ScopeState("vm:a", (), 3)], is_whole=False)
    assert follower.cached(need, 0.0).etag == "3"
    follower.take([ScopeState("vm:a", (), 0)], is_whole=False)
    assert follower.cached(need, 0.0).etag == "0"
    assert follower._scopes == {}


def test_whole_set_of_scopes_is_shown_at_its_end() -> None:
    follower = EventsFollower(AsyncMock(), lambda: 0.0, lambda _: None)

    def shown(scope: str) -> str:
        return follower.cached(PendingEventsDocument("a", scope, "2020-07-01"), 0.0).etag

    follower.take([ScopeState("vm:a", (), 7), ScopeState("vm:b", (), 8)], is_whole=True)
    follower.take([ScopeState("vm:a", (), 9)], is_whole=True, is_last=False)
    assert (shown("vm:a"), shown("vm:b")) == ("7", "8")
    follower.take([ScopeState("vm:c", (), 10)], is_whole=False)
    assert (shown("vm:a"), shown("vm:c")) == ("9", "10")
    assert shown("vm:b") == shown("vm:unknown")
    follower.keep({"vm:c"})
    assert shown("vm:a") == shown("vm:unknown")
    assert follower.new_activity() == {}
