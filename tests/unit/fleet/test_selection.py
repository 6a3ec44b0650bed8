"""The VMs that a selector chooses in an index, between the answers of guests."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

from openimds.facts.versions import NEWEST, catalog
from openimds.fleet.index import FleetIndex
from openimds.fleet.selection import NAMES_AT_ONCE, VMS_AT_ONCE, choose, choose_names
from openimds.fleet.service import FleetService
from openimds.fleet.store.port import Write
from openimds.fleet.store.sqlite import MemoryStore
from openimds.vm.fleet_file import parse_vm
from openimds.vm.selector import Selector, parse_selector, read_selector

T = TypeVar("T")


async def _open(*_: object) -> None:
    return


def with_fleet(work: Callable[[FleetService], Awaitable[T]], **vms: Any) -> T:
    async def whole() -> T:
        store = MemoryStore()
        index: FleetIndex[Any] = FleetIndex(catalog(NEWEST), 1 << 20)
        service = FleetService(store, index, lambda: 1.0, _open)
        try:
            for name, members in vms.items():
                if isinstance(members, bytes):
                    store.write([Write(name, members, "api")], "x", "2026")
                else:
                    await service.put(parse_vm(name, members), "x")
            await service.load()
            return await work(service)
        finally:
            service.close()

    return asyncio.run(whole())


def names(text: str, **vms: Any) -> list[str]:
    return with_fleet(lambda service: choose_names(service, parse_selector(text)), **vms)


def test_chosen_names_are_in_order() -> None:
    prod = {"compute": {"tags": {"env": "prod"}}}
    assert names("tag=env:prod", b=prod, a=prod, c={}) == ["a", "b"]
    assert names("name=[bc]", b=prod, a=prod, c={}) == ["b", "c"]


def test_exact_names_are_looked_up_and_absent_ones_left_out() -> None:
    vms: dict[str, Any] = {"a": {}, "b": {}}

    async def work(service: FleetService) -> list[str]:
        return await choose_names(service, read_selector(["b", "x"]))

    assert with_fleet(work, **vms) == ["b"]


def test_text_that_is_the_name_of_a_vm_means_it_alone() -> None:
    vms: dict[str, Any] = {"web[1]": b"{}", "web1": {}, "a*": b"{", "ab": {}}
    assert names("name=web[1]", **vms) == ["web[1]"]
    assert names("name=a*", **vms) == ["a*"]
    assert names("name=web[[]1]", **vms) == ["web[1]"]
    del vms["web[1]"]
    assert names("name=web[1]", **vms) == ["web1"]


def test_quarantined_vm_is_chosen_by_its_stored_body() -> None:
    first = {"compute": {"zone": "1"}, "reach": {"address": ["10.0.0.4"]}}
    second = b'{"compute":{"zone":"2"},"reach":{"address":["10.0.0.4"]}}'
    vms: dict[str, Any] = {"a": first, "b": second, "c": b"{"}
    assert names("name=*", **vms) == ["a", "b", "c"]
    assert names("name=b", **vms) == ["b"]
    assert names("zone=2", **vms) == ["b"]


def test_most_bounds_the_names() -> None:
    vms: dict[str, Any] = {f"v{number}": {} for number in range(4)}

    async def work(service: FleetService) -> list[str]:
        return await choose_names(service, Selector(), 2)

    assert with_fleet(work, **vms) == ["v0", "v1"]


def test_many_vms_are_read_in_parts_that_yield_to_the_loop() -> None:
    async def work(service: FleetService) -> None:
        vms = [parse_vm(f"v{number:05}", {}) for number in range(2 * NAMES_AT_ONCE)]
        service.fleet_index.apply(service.fleet_index.plan(vms))
        turns = 0

        async def other() -> None:
            nonlocal turns
            while True:
                turns += 1
                await asyncio.sleep(0)

        task = asyncio.create_task(other())
        parts = [part async for part in choose(service, Selector(), "v00999")]
        task.cancel()
        assert [one.name for part in parts for one in part] == [vm.name for vm in vms[1000:]]
        assert max(map(len, parts)) == VMS_AT_ONCE
        assert turns >= len(parts)

    with_fleet(work)


def test_vm_that_is_removed_meanwhile_is_left_out() -> None:
    async def work(service: FleetService) -> list[str]:
        vms = [parse_vm(f"v{number:05}", {}) for number in range(VMS_AT_ONCE + 1)]
        service.fleet_index.apply(service.fleet_index.plan(vms))
        found = []
        async for part in choose(service, Selector()):
            found += [one.name for one in part]
            service.fleet_index.apply(service.fleet_index.plan([], [vms[-1].name]))
        return found

    assert len(with_fleet(work)) == VMS_AT_ONCE
