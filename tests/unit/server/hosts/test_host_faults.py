"""Faults of a fleet of hosts, while their VMs come and go."""

from typing import Any

import pytest

from openimds.facts.versions import catalog
from openimds.faults import FaultInjector
from openimds.fleet.index import FleetIndex
from openimds.server.hosts import host_faults
from openimds.server.seam import fault_states
from openimds.server.seam.fault_states import FollowedFaults
from openimds.server.seam.messages import FaultState
from tests.support.talk import Talk
from tests.unit.server.hosts.fleet import SETTINGS, ControlSide, HostSide, with_fleet

SIZE = "/metadata/instance/compute/vmSize?api-version=2021-02-01&format=text"
FIRST = {"effect": "status", "status": 503, "first": 3}


def on(host: str, number: int, **more: Any) -> dict[str, Any]:
    return {"host": host, "reach": {"address": [f"10.0.0.{number}"]}, **more}


def size_at(host: HostSide, number: int) -> str:
    return Talk(host.host.dispatcher, (f"10.0.0.{number}", 5)).ask(SIZE).body.decode()


async def move(control: ControlSide, vm: str, host: str) -> None:
    await control.control.fleet_service.patch(vm, {"host": host}, "test")
    await control.settle()


def test_fault_counts_on_when_a_vm_of_its_list_comes_or_goes() -> None:
    async def work(control: ControlSide, a: HostSide, _b: HostSide) -> None:
        await control.put("web", **on("a", 1))
        await control.put("db", **on("b", 2))
        await control.control.faults.set({**FIRST, "vms": ["web", "db"]})
        await control.settle()
        (fault,) = a.host.injector.running
        for host in ("a", "b"):
            assert a.name_at("10.0.0.1") == "503"
            await move(control, "db", host)
        assert a.host.injector.running == (fault,)
        assert fault.spec.vms == ("web",)
        assert [a.name_at("10.0.0.1") for _ in range(2)] == ["503", "web"]
        (shown,) = await control.control.faults.counted()
        assert (shown.seen, shown.played) == (4, 3)

    with_fleet(work)


def test_fault_counts_on_when_its_last_vm_has_come_back() -> None:
    async def work(control: ControlSide, a: HostSide, _b: HostSide) -> None:
        await control.put("web", **on("a", 1))
        await control.control.faults.set({**FIRST, "vms": ["web"]})
        await control.settle()
        assert [a.name_at("10.0.0.1") for _ in range(2)] == ["503", "503"]
        await move(control, "web", "b")
        assert not a.host.injector.running
        await move(control, "web", "a")
        assert [a.name_at("10.0.0.1") for _ in range(2)] == ["503", "web"]

    with_fleet(work)


@pytest.mark.parametrize("vms", [{}, {"vms": ["web", "db"]}])
def test_stale_document_comes_with_a_vm(vms: dict[str, list[str]]) -> None:
    async def work(control: ControlSide, a: HostSide, b: HostSide) -> None:
        await control.put("web", **on("a", 1, compute={"vmSize": "old"}))
        await control.put("db", **on("b", 2, compute={"vmSize": "old"}))
        await control.control.faults.set({"effect": "stale-document", **vms})
        service = control.control.fleet_service
        await service.patch("web", {"compute": {"vmSize": "new"}}, "test")
        await control.settle()
        assert (size_at(a, 1), size_at(b, 2)) == ("old", "old")
        await move(control, "web", "b")
        assert (size_at(b, 1), size_at(b, 2)) == ("old", "old")
        await move(control, "web", "a")
        assert size_at(a, 1) == "old"
        await control.control.faults.clear()
        await control.settle()
        assert size_at(a, 1) == "new"

    with_fleet(work)


def test_stale_documents_of_many_vms_pass_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(host_faults, "SLICE_BYTES", 1)

    async def work(control: ControlSide, a: HostSide, _b: HostSide) -> None:
        for number in range(1, 4):
            await control.put(f"vm-{number}", **on("a", number, compute={"vmSize": "old"}))
        await control.control.faults.set({"effect": "stale-document"})
        await control.control.faults.set({**FIRST, "vms": ["vm-1"], "first": 1})
        for number in range(1, 4):
            patch = {"compute": {"vmSize": "new"}}
            await control.control.fleet_service.patch(f"vm-{number}", patch, "test")
        await control.settle()
        assert [size_at(a, number) for number in range(1, 4)] == ["old"] * 3
        assert a.host.injector.running[0].before.keys() == {"vm-1", "vm-2", "vm-3"}
        await control.control.fleet_service.remove("vm-1", "test")
        await control.settle()
        assert a.host.injector.running[0].before.keys() == {"vm-2", "vm-3"}

    with_fleet(work)


def state(key: str, **members: Any) -> FaultState:
    return FaultState(key, "api", 1.0, "", {"effect": "status", "status": 503, **members})


@pytest.mark.parametrize(
    "changed",
    [
        FaultState("1", "api", 2.0, "", {"effect": "status", "status": 503}),
        state("1", status=410),
        state("2"),
    ],
    ids=["time", "members", "key"],
)
def test_another_fault_counts_from_the_start(changed: FaultState) -> None:
    injector = FaultInjector()
    faults = FollowedFaults(injector, FleetIndex(catalog(SETTINGS.newest_version), 1))
    faults.take((state("1"),))
    (first,) = injector.running
    faults.take((changed,))
    (second,) = injector.running
    assert second is not first


def test_faults_that_are_not_played_are_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    injector = FaultInjector()
    faults = FollowedFaults(injector, FleetIndex(catalog(SETTINGS.newest_version), 1))
    monkeypatch.setattr(fault_states, "MOST_FAULTS", 2)
    faults.take(tuple(map(state, "123")))
    first, second, third = injector.running
    faults.take(())
    faults.take((state("1"), state("2")))
    assert injector.running[0] is not first
    assert injector.running[1] is second
    faults.forget()
    faults.take((state("3"),))
    assert injector.running[0] is not third
