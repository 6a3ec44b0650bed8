"""Files that are applied to a store in which the API has made changes, too."""

from pathlib import Path
from typing import Any

import pytest

from openimds.errors import ConfigError
from openimds.fleet.applied_file import read_stored_fleet
from openimds.fleet.store.port import (
    API,
    DEFAULT,
    AppliedFile,
    Change,
    StoreError,
    Write,
)
from openimds.vm.fleet_file import parse_fleet, parse_vm
from openimds.vm.serialize import encode_vm, vm_to_value
from tests.unit.admin.setup import AdminServer, with_server

SIZE: dict[str, Any] = {"compute": {"vmSize": "S"}}


async def apply(
    server: AdminServer, vms: dict[str, Any], *, origin: str = "file", **options: Any
) -> list[Change]:
    parsed = [parse_vm(name, value) for name, value in vms.items()]
    return await server.fleet_service.sync(parsed, origin, "file fleet.yaml", **options)


def shown(server: AdminServer) -> dict[str, Any]:
    """Return the served VMs, which the store has, too."""
    served = {name: vm_to_value(entry.vm) for name, entry in server.fleet_index.by_name.items()}
    stored = {vm.name: vm.body for vm in server.store.page("", 99)}
    assert stored == {name: encode_vm(parse_vm(name, value)) for name, value in served.items()}
    return served


def origins(server: AdminServer) -> dict[str, str]:
    return {vm.name: vm.origin for vm in server.store.page("", 99)}


def test_same_entries_leave_changes_by_the_api(tmp_path: Path) -> None:
    async def work(server: AdminServer) -> None:
        file = {"a": SIZE, "b": {"identities": {"system": True}}, "c": {}}
        await apply(server, file)
        await server.fleet_service.patch("a", {"compute": {"tags": {"env": "test"}}}, "me")
        await server.fleet_service.patch("b", {"identities": None}, "me")
        await server.fleet_service.remove("c", "me")
        before = shown(server)
        assert before == {"a": {"compute": {"vmSize": "S", "tags": {"env": "test"}}}, "b": {}}
        assert await apply(server, file) == await apply(server, file, is_start=True) == []
        assert shown(server) == before

    with_server(tmp_path, work)


def test_edit_changes_its_leaves_alone(tmp_path: Path) -> None:
    async def work(server: AdminServer) -> None:
        await apply(server, {"a": {"compute": {"vmSize": "S", "zone": "1"}}})
        patch = {"compute": {"vmSize": "Mine", "zone": "2", "tags": {"env": "test"}}}
        await server.fleet_service.patch("a", patch, "me")
        (change,) = await apply(server, {"a": {"compute": {"vmSize": "S", "zone": "3"}}})
        assert (change.who, change.origin) == ("file fleet.yaml", "file")
        compute = {"vmSize": "Mine", "zone": "3", "tags": {"env": "test"}}
        assert shown(server) == {"a": {"compute": compute}}
        await apply(server, {"a": {}})
        assert shown(server) == {"a": {"compute": {"tags": {"env": "test"}}}}

    with_server(tmp_path, work)


def test_edit_of_the_defaults_is_one_of_each_entry(tmp_path: Path) -> None:
    async def work(server: AdminServer) -> None:
        service = server.fleet_service

        async def apply_with(zone: str, cloud: str) -> None:
            vms: dict[str, Any] = {"a": {}, "own": {"compute": {"zone": "9"}}}
            value = {"cloud": cloud, "defaults": {"compute": {"zone": zone}}, "vms": vms}
            await service.sync([*parse_fleet(value).vms.values()], "file", "x")

        await apply_with("1", "AzurePublicCloud")
        await service.patch("a", {"compute": {"zone": "3", "vmSize": "Mine"}}, "me")
        await apply_with("2", "AzureChinaCloud")
        assert shown(server) == {
            "a": {"cloud": "AzureChinaCloud", "compute": {"vmSize": "Mine", "zone": "2"}},
            "own": {"cloud": "AzureChinaCloud", "compute": {"zone": "9"}},
        }

    with_server(tmp_path, work)


def test_removed_vm_is_made_again_by_an_edit_of_its_entry(tmp_path: Path) -> None:
    async def work(server: AdminServer) -> None:
        await apply(server, {"a": SIZE, "b": {}})
        await server.fleet_service.remove("a", "me")
        await apply(server, {"a": SIZE, "b": SIZE})
        assert shown(server).keys() == {"b"}
        await apply(server, {"a": {"compute": {"vmSize": "T"}}, "b": SIZE})
        assert shown(server) == {"a": {"compute": {"vmSize": "T"}}, "b": SIZE}
        assert origins(server)["a"] == "file"

    with_server(tmp_path, work)


def test_entry_that_returns_makes_its_vm_again(tmp_path: Path) -> None:
    async def work(server: AdminServer) -> None:
        await apply(server, {"a": SIZE, "b": {}})
        await server.fleet_service.remove("a", "me")
        await apply(server, {"b": {}})
        await apply(server, {"a": SIZE, "b": {}})
        assert shown(server) == {"a": SIZE, "b": {}}

    with_server(tmp_path, work)


def test_entry_that_ends_removes_the_vm_of_the_file(tmp_path: Path) -> None:
    """Also one that the API patched; a VM that the API made stays."""

    async def work(server: AdminServer) -> None:
        service = server.fleet_service
        await service.put(parse_vm("mine", {"compute": {"zone": "1"}}), "me")
        await apply(server, {"a": SIZE, "again": SIZE, "mine": SIZE, "last": {}})
        assert shown(server)["mine"] == {"compute": {"vmSize": "S", "zone": "1"}}
        await service.patch("a", {"compute": {"zone": "2"}}, "me")
        await service.remove("again", "me")
        await service.put(parse_vm("again", {}), "me")
        assert origins(server) == {"a": "file", "again": API, "last": "file", "mine": API}
        await apply(server, {"last": {}})
        assert shown(server) == {
            "again": {},
            "last": {},
            "mine": {"compute": {"vmSize": "S", "zone": "1"}},
        }

    with_server(tmp_path, work)


def test_edit_that_does_not_fit_makes_the_vm_as_in_the_file(tmp_path: Path) -> None:
    async def work(server: AdminServer) -> None:
        reach = {"interface": "tap0", "mac": "00:0d:3a:00:00:01"}
        await apply(server, {"a": {"reach": {"interface": "tap0"}}})
        patch = {"reach": {"interface": None}, "compute": {"zone": "1"}}
        await server.fleet_service.patch("a", patch, "me")
        await apply(server, {"a": {"reach": reach}}, is_start=True)
        assert shown(server) == {"a": {"reach": reach}}
        (message,) = server.notices
        assert message == (
            "a: its changes by the API cannot be kept (vms.a.reach.mac: saw a hardware address "
            "without an interface, expected both. Write interface beside it), so the VM is as in "
            "the file"
        )

    with_server(tmp_path, work)


@pytest.mark.parametrize("damage", [b"{", b"[]", b"\xff", b"[" * 100_000])
@pytest.mark.parametrize("table", ["vm", "applied_entry"])
def test_damaged_row_is_reported_and_replaced(tmp_path: Path, table: str, damage: bytes) -> None:
    async def work(server: AdminServer) -> None:
        await apply(server, {"a": {}, "b": {}})
        with server.store._transaction():
            server.store._db.execute(f"UPDATE {table} SET body = ? WHERE name = 'a'", (damage,))
        await apply(server, {"a": SIZE, "b": {}}, is_start=True)
        assert shown(server) == {"a": SIZE, "b": {}}
        (message,) = server.notices
        assert message.startswith("a: its changes by the API cannot be kept (")

    with_server(tmp_path, work)


def test_store_without_records_keeps_its_vms(tmp_path: Path) -> None:
    """The store of 0.1.0 has the names of the file's VMs, and not their entries."""

    async def work(server: AdminServer) -> None:
        writes = [Write(name, b'{"compute":{"zone":"2"}}', "file") for name in ("a", "ended")]
        server.store.write(writes, "start", "now")
        names = ("a", "ended", "removed")
        with server.store._transaction():
            server.store._db.executemany(
                "INSERT INTO applied_entry VALUES (?, 'file', NULL)", ((name,) for name in names)
            )
        await server.fleet_service.load()
        file = {"a": {"compute": {"zone": "1"}}, "removed": {}, "new": SIZE}
        await apply(server, file, is_start=True)
        assert shown(server) == {"a": {"compute": {"zone": "2"}}, "new": SIZE}
        await apply(server, {**file, "a": {"compute": {"zone": "1", "vmSize": "T"}}})
        assert shown(server)["a"] == {"compute": {"zone": "2", "vmSize": "T"}}

    with_server(tmp_path, work)


def test_same_text_changes_nothing_after_an_upgrade(tmp_path: Path) -> None:
    """Another release may write the entry of a text in another way."""

    async def work(server: AdminServer) -> None:
        await apply(server, {"a": {"compute": {"zone": "1"}}}, text=b"1")
        await server.fleet_service.patch("a", {"compute": {"vmSize": "Mine"}}, "me")
        assert await apply(server, {"a": SIZE}, text=b"1", is_start=True) == []
        assert shown(server) == {"a": {"compute": {"zone": "1", "vmSize": "Mine"}}}
        await apply(server, {"a": {"compute": {"vmSize": "S", "zone": "3"}}}, text=b"2")
        assert shown(server) == {"a": {"compute": {"zone": "3", "vmSize": "Mine"}}}

    with_server(tmp_path, work)


def test_another_kind_of_file_takes_a_vm_over(tmp_path: Path) -> None:
    async def work(server: AdminServer) -> None:
        document = {"vm-1": {"compute": {"zone": "1"}}}
        await apply(server, document, origin="document", text=b"1")
        await apply(server, {"vm-1": SIZE, "b": {}}, text=b"2")
        assert shown(server) == {"vm-1": SIZE, "b": {}}
        await apply(server, document, origin="document", text=b"1")
        assert shown(server) == {**document, "b": {}}
        await apply(server, {"vm-1": SIZE, "b": {}}, text=b"2")
        assert shown(server) == {"vm-1": SIZE, "b": {}}

    with_server(tmp_path, work)


def test_file_replaces_the_default_vm(tmp_path: Path) -> None:
    async def work(server: AdminServer) -> None:
        await apply(server, {"vm-1": {"identities": {"system": True}}}, origin=DEFAULT)
        assert read_stored_fleet(server.store, DEFAULT).applied == {}
        await apply(server, {"vm-1": SIZE})
        assert (shown(server), origins(server)) == ({"vm-1": SIZE}, {"vm-1": "file"})

    with_server(tmp_path, work)


@pytest.mark.parametrize("entry", ["vm-1", "other"])
def test_default_vm_ends_though_its_name_was_removed(tmp_path: Path, entry: str) -> None:
    """A server without a file made it later."""

    async def work(server: AdminServer) -> None:
        await apply(server, {"vm-1": SIZE})
        await server.fleet_service.remove("vm-1", "me")
        await apply(server, {"vm-1": {}}, origin=DEFAULT)
        await apply(server, {entry: SIZE}, is_start=True)
        assert (shown(server), origins(server)) == ({entry: SIZE}, {entry: "file"})

    with_server(tmp_path, work)


def at(*addresses: str, **others: Any) -> dict[str, Any]:
    return {"reach": {"address": [*addresses]}, **others}


@pytest.mark.parametrize("is_edited", [False, True])
def test_address_by_the_api_gives_way_to_the_file_at_a_start(
    tmp_path: Path, *, is_edited: bool
) -> None:
    async def work(server: AdminServer) -> None:
        await apply(server, {"a": at("10.0.0.1")})
        await server.fleet_service.patch("a", at("10.0.0.2"), "me")
        more = SIZE if is_edited else {}
        file = {"a": at("10.0.0.1", **more), "b": at("10.0.0.2")}
        with pytest.raises(ConfigError, match=r"10\.0\.0\.2, which is also that of (a|b)"):
            await apply(server, file)
        await apply(server, file, is_start=True)
        assert server.fleet_index.by_name.keys() == {"b"}
        assert server.fleet_index.quarantine.keys() == {"a"}
        entry = server.fleet_index.entry_at("10.0.0.2")
        assert entry
        assert entry.name == "b"
        # Until then edits of the file are applied, also of its entry.
        await apply(server, {**file, "c": {}})
        await apply(server, {**file, "a": at("10.0.0.1", classic=True), "c": {}})
        assert server.fleet_index.quarantine.keys() == {"a"}
        assert server.fleet_index.by_name.keys() == {"b", "c"}
        await server.fleet_service.patch("a", at("10.0.0.3"), "me")
        assert shown(server).keys() == {"a", "b", "c"}
        assert shown(server)["a"]["classic"]

    with_server(tmp_path, work)


@pytest.mark.parametrize("is_start", [False, True])
def test_stored_address_that_is_none_stops_no_file(tmp_path: Path, *, is_start: bool) -> None:
    async def work(server: AdminServer) -> None:
        await apply(server, {"a": at("10.0.0.1")})
        with server.store._transaction():
            server.store._db.execute("UPDATE vm SET body = ?", (b'{"reach":{"address":["none"]}}',))
        server.fleet_index.apply(server.fleet_index.plan([], ["a"]))
        await server.fleet_service.load()
        assert server.fleet_index.quarantine.keys() == {"a"}
        await apply(server, {"a": at("10.0.0.1"), "b": {}}, is_start=is_start)
        assert server.fleet_index.by_name.keys() == {"b"}
        await apply(server, {"a": at("10.0.0.2"), "b": {}})
        assert shown(server) == {"a": at("10.0.0.2"), "b": {}}

    with_server(tmp_path, work)


def test_failed_write_keeps_no_record(tmp_path: Path) -> None:
    async def work(server: AdminServer) -> None:
        await apply(server, {"a": SIZE})
        server.store.fails = {"write"}
        with pytest.raises(StoreError):
            await apply(server, {"a": {"compute": {"vmSize": "T"}}, "b": {}})
        server.store.fails.clear()
        await apply(server, {"a": {"compute": {"vmSize": "T"}}, "b": {}})
        assert shown(server) == {"a": {"compute": {"vmSize": "T"}}, "b": {}}

    with_server(tmp_path, work)


def test_applied_file_is_recorded_once(tmp_path: Path) -> None:
    async def work(server: AdminServer) -> None:
        recorded: list[AppliedFile | None] = []
        write = server.store.write

        def write_and_note(*arguments: Any) -> list[Change]:
            recorded.append(arguments[3])
            return write(*arguments)

        server.store.write = write_and_note  # type: ignore[assignment]
        for text in (b"1", b"1", b"2"):
            await apply(server, {"a": {}}, text=text)
        await apply(server, {}, text=b"2")
        assert recorded == [
            AppliedFile("file", b"1", {"a": b"{}"}),
            None,
            AppliedFile("file", b"2", {}),
            AppliedFile("file", b"2", {"a": None}),
        ]

    with_server(tmp_path, work)


def test_edit_by_its_entries_equals_the_edit_of_the_whole_file(tmp_path: Path) -> None:
    file: dict[str, Any] = dict.fromkeys("abcdef", SIZE)
    edited: dict[str, Any] = {
        "a": SIZE,
        "b": {"compute": {"vmSize": "T"}},
        "c": {"compute": {"vmSize": "S", "zone": "1"}},
        "f": {"compute": {"vmSize": "U"}},
        "new": SIZE,
    }
    results: list[object] = []

    async def work(server: AdminServer) -> None:
        service, is_whole = server.fleet_service, not results
        await apply(server, file, text=b"1")
        for name in "ab":
            await service.patch(name, {"compute": {"tags": {"env": "test"}}}, "me")
        for name in "cd":
            await service.remove(name, "me")
        await service.put(parse_vm("mine", SIZE), "me")
        if is_whole:
            changes = await apply(server, edited, text=b"2")
        else:
            some = {name: value for name, value in edited.items() if name != "a"}
            changes = await apply(server, some, text=b"2", gone=frozenset("de"))
        applied = {entry.name: entry.body for entry in server.store.applied_entries("", 99)}
        results.append(
            (
                {(change.name, change.after, change.origin) for change in changes},
                shown(server),
                origins(server),
                applied,
                server.store.applied_text("file"),
            )
        )

    for folder in ("whole", "entries"):
        (tmp_path / folder).mkdir()
        with_server(tmp_path / folder, work)
    assert results[0] == results[1]
