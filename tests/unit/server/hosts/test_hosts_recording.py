"""The requests of guests on their hosts, as control shows them."""

import asyncio
from typing import Any

import pytest
from msgspec.structs import replace

from openimds.errors import Error
from openimds.protocol.request_log import Record
from openimds.server.hosts import hosts_recording
from openimds.server.hosts.hosts_recording import HostsRecording
from openimds.server.seam import host_end
from openimds.server.seam.channel import ChannelClosedError
from tests.unit.server.hosts.fleet import ControlSide, HostSide, with_fleet


def on(host: str, number: int) -> dict[str, Any]:
    return {"host": host, "reach": {"address": [f"10.0.0.{number}"]}}


def record(host: HostSide) -> None:
    """Have a host record requests."""
    host.host.recorder.per_vm = 100
    host.host.dispatcher.set_observer(host.host.recorder)


def test_requests_of_a_vm_are_read_from_its_host(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(host_end, "SLICE", 2)

    async def work(control: ControlSide, a: HostSide, b: HostSide) -> None:
        for number, host in enumerate((a, a, b)):
            record(host)
            await control.put(f"vm-{number}", **on(host.name, number))
        await control.settle()
        recording = control.link.recording
        for _ in range(5):
            a.name_at("10.0.0.0")
            a.name_at("10.0.0.1")
        b.name_at("10.0.0.2")
        found = await recording.records("vm-1")
        assert [(one.vm, one.number) for one in found] == [("vm-1", n) for n in (2, 4, 6, 8, 10)]
        assert [one.peer for one in await recording.records("vm-2")] == ["10.0.0.2"]
        monkeypatch.setattr(hosts_recording, "MOST_RECORDS", 3)
        assert [one.number for one in await recording.records("vm-1")] == [2, 4, 6]

    with_fleet(work)


def test_host_that_is_away_is_named() -> None:
    async def work(control: ControlSide, a: HostSide, _b: HostSide) -> None:
        await control.put("web", **on("a", 1))
        await control.put("far", **on("c", 2))
        await control.put("none")
        await control.settle()
        recording = control.link.recording
        for vm, reason in (
            ("none", "none is placed on no host"),
            ("unknown", "unknown is placed on no host"),
            ("far", "the requests of far cannot be read: its host c is not connected; it keeps"),
        ):
            with pytest.raises(Error, match=reason):
                await recording.records(vm)
        assert await recording.records("web") == ()

    with_fleet(work)


class Hosts:
    """A host that gives some records, or an error."""

    def __init__(self, records: tuple[Record, ...] = (), error: Exception | None = None) -> None:
        self.sessions = {"a": self}
        self._records, self._error = records, error

    def hosts_of(self, _vm: str) -> tuple[str, ...]:
        return ("a",)

    async def records(self, _vm: str, _since: int) -> tuple[Record, ...]:
        if self._error:
            raise self._error
        return self._records


@pytest.mark.parametrize("error", [ChannelClosedError("it has ended"), TimeoutError()])
def test_host_that_goes_meanwhile_is_named(error: Exception) -> None:
    with pytest.raises(Error, match="its host a is not connected; try again"):
        asyncio.run(HostsRecording(Hosts(error=error)).records("web"))


def test_host_is_not_trusted_with_other_vms_and_numbers() -> None:
    async def work(control: ControlSide, a: HostSide, _b: HostSide) -> None:
        record(a)
        await control.put("web", **on("a", 1))
        await control.settle()
        a.name_at("10.0.0.1")
        (own,) = await control.link.recording.records("web")
        hosts = Hosts((own, replace(own, vm="db", number=2), own))
        assert await HostsRecording(hosts).records("web") == (own, own)

    with_fleet(work)


def test_control_itself_has_no_requests() -> None:
    async def whole() -> None:
        recording = HostsRecording(Hosts())
        assert await recording.last_number() == 0
        assert await recording.findings() == {}
        await recording.clear()
        feed = recording.subscribe()
        assert feed.empty()
        recording.unsubscribe(feed)

    asyncio.run(whole())
