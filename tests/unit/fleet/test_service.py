import asyncio
import gc
from collections.abc import Sequence
from pathlib import Path
from unittest.mock import patch

import pytest

from openimds.errors import ConfigError
from openimds.fleet.service import FleetService
from openimds.fleet.store.port import DEFAULT, AppliedFile, Change, ConflictError, StoreError, Write
from openimds.fleet.stored_bodies import decode_vm
from openimds.vm.fleet_file import parse_vm
from openimds.vm.serialize import encode_vm
from openimds.vm.types import Vm
from tests.unit.admin.setup import TAKEN, AdminServer, with_server


def a_vm(name: str, *addresses: str, listen: tuple[str, ...] = (), size: str = "S") -> Vm:
    reach = {"address": [*addresses], "listen": [*listen]}
    return parse_vm(name, {"compute": {"vmSize": size}, "reach": reach})


def visible(server: AdminServer) -> object:
    """Return everything visible of a fleet service: the index, the listeners, the store."""
    server.store.fails.clear()
    return (
        {name: entry.vm for name, entry in server.fleet_index.by_name.items()},
        server.fleet_index.generation,
        server.fleet_index.listeners,
        server.store.page("", 99),
        server.store.changes(0, 99),
        server.fleet_service.revision,
    )


def test_stored_body_decodes_to_the_vm(tmp_path: Path) -> None:
    async def work(server: AdminServer) -> None:
        for each in (Vm("a"), a_vm("b", "10.0.0.1", listen=("unix:/x",))):
            stored, is_new = await server.fleet_service.put(each, "me")
            assert (stored.body, stored.origin, is_new) == (encode_vm(each), "api", True)
            assert decode_vm(stored) == each
            assert server.fleet_index.by_name[each.name].vm == each

    with_server(tmp_path, work)


def test_load_fills_the_index_from_the_store(tmp_path: Path) -> None:
    async def work(server: AdminServer) -> None:
        await server.fleet_service.put(a_vm("a", "10.0.0.1", listen=("unix:/a",)), "me")
        await server.fleet_service.put(a_vm("b", "10.0.0.2"), "me")
        other = AdminServer(tmp_path)
        other.fleet_service.store = server.store
        await other.fleet_service.load()
        assert other.fleet_index.by_name.keys() == {"a", "b"}
        assert other.opened == [{"unix:/a": "a"}]
        assert other.fleet_service.revision == 2
        other.fleet_service.close()

    with_server(tmp_path, work)


@pytest.mark.parametrize("failing", ["write", "listeners", "conflict", "address"])
def test_failed_change_changes_nothing(tmp_path: Path, failing: str) -> None:
    async def work(server: AdminServer) -> None:
        await server.fleet_service.put(a_vm("a", "10.0.0.1", listen=("unix:/a",)), "me")
        before = visible(server)
        listen = ("unix:/b", TAKEN) if failing == "listeners" else ("unix:/b",)
        address = "10.0.0.1" if failing == "address" else "10.0.0.2"
        server.store.fails = {failing}
        expected = 7 if failing == "conflict" else None
        kinds = (StoreError, ConflictError, ConfigError)
        with pytest.raises(kinds):
            await server.fleet_service.put(a_vm("b", address, listen=listen), "me", expected)
        # The listeners opened for the change are closed again.
        assert server.opened[-1] == {"unix:/a": "a"}
        assert visible(server) == before
        await server.fleet_service.put(a_vm("b", "10.0.0.2"), "me")

    with_server(tmp_path, work)


def test_listeners_are_open_before_the_change_is_written(tmp_path: Path) -> None:
    async def work(server: AdminServer) -> None:
        await server.fleet_service.put(a_vm("a", listen=("unix:/old",)), "me")
        del server.opened[:-1]
        await server.fleet_service.put(a_vm("a", listen=("unix:/new",)), "me")
        assert server.opened[1:] == [{"unix:/old": "a", "unix:/new": "a"}, {"unix:/new": "a"}]

    with_server(tmp_path, work)


def test_change_stands_though_later_store_calls_fail(tmp_path: Path) -> None:
    async def work(server: AdminServer) -> None:
        write = server.store.write

        def write_and_fail(
            writes: Sequence[Write], who: str, at: str, applied: AppliedFile | None = None
        ) -> list[Change]:
            done = write(writes, who, at, applied)
            server.store.fails = {"get", "get_many", "page", "changes", "revision"}
            return done

        server.store.write = write_and_fail  # type: ignore[method-assign]
        await server.fleet_service.put(a_vm("a"), "me")
        assert "a" in server.fleet_index.by_name

    with_server(tmp_path, work)


def test_put_over_a_vm_calls_the_store_once(tmp_path: Path) -> None:
    async def work(server: AdminServer) -> None:
        await server.fleet_service.put(a_vm("a"), "me")
        call_store = server.fleet_service.call_store
        with patch.object(server.fleet_service, "call_store", side_effect=call_store) as calls:
            await server.fleet_service.put(a_vm("a", size="T"), "me")
        assert calls.call_count == 1

    with_server(tmp_path, work)


def test_put_without_effect_returns_the_stored_vm(tmp_path: Path) -> None:
    async def work(server: AdminServer) -> None:
        first = await server.fleet_service.put(a_vm("a"), "me")
        assert await server.fleet_service.put(a_vm("a"), "me") == (first[0], False)

    with_server(tmp_path, work)


def test_synced_vms_are_freed_before_the_store_writes(tmp_path: Path) -> None:
    async def work(server: AdminServer) -> None:
        write, alive = server.store.write, []

        def write_and_look(
            writes: Sequence[Write], who: str, at: str, applied: AppliedFile | None = None
        ) -> list[Change]:
            alive.append(sum(type(item) is Vm for item in gc.get_objects()))
            return write(writes, who, at, applied)

        server.store.write = write_and_look  # type: ignore[method-assign]
        held = sum(type(item) is Vm for item in gc.get_objects())
        vms = (a_vm(f"vm-{number}", f"10.0.0.{number}") for number in range(50))
        await server.fleet_service.sync(vms, "file", "x")
        assert alive[0] - held < 5
        assert len(server.fleet_index.by_name) == 50

    with_server(tmp_path, work)


def test_first_vm_replaces_the_default_vm(tmp_path: Path) -> None:
    async def work(server: AdminServer) -> None:
        await server.fleet_service.sync([Vm("vm-1")], DEFAULT, "start")
        stored, is_new = await server.fleet_service.put(a_vm("vm-1", size="Mine"), "me")
        assert (stored.origin, is_new) == ("api", False)
        await server.fleet_service.put(a_vm("b"), "me")
        assert server.fleet_index.by_name.keys() == {"vm-1", "b"}

    with_server(tmp_path, work)

    async def more(server: AdminServer) -> None:
        await server.fleet_service.sync([Vm("vm-1")], DEFAULT, "start")
        await server.fleet_service.put(a_vm("b"), "me")
        assert server.fleet_index.by_name.keys() == {"b"}
        assert [vm.name for vm in server.store.page("", 9)] == ["b"]

    with_server(tmp_path, more)


def test_remove_returns_whether_the_vm_existed(tmp_path: Path) -> None:
    async def work(server: AdminServer) -> None:
        await server.fleet_service.put(a_vm("a"), "me")
        assert await server.fleet_service.remove("a", "me")
        assert not await server.fleet_service.remove("a", "me")
        assert not server.fleet_index.by_name
        with pytest.raises(ConflictError):
            await server.fleet_service.remove("a", "me", 3)

    with_server(tmp_path, work)


def test_sync_changes_only_its_own_origin(tmp_path: Path) -> None:
    async def work(server: AdminServer) -> None:
        fleet_service = server.fleet_service
        await fleet_service.put(a_vm("mine"), "me")
        await fleet_service.sync([a_vm("a"), a_vm("b")], "file", "file x")
        assert await fleet_service.sync([a_vm("a"), a_vm("b")], "file", "file x") == []
        changes = await fleet_service.sync([a_vm("b", size="T"), a_vm("c")], "file", "file x")
        assert {(change.name, change.after is None, change.who) for change in changes} == {
            ("a", True, "file x"),
            ("b", False, "file x"),
            ("c", False, "file x"),
        }
        assert {vm.name: vm.origin for vm in server.store.page("", 9)} == {
            "b": "file",
            "c": "file",
            "mine": "api",
        }
        assert server.fleet_index.by_name.keys() == {"b", "c", "mine"}
        await fleet_service.sync([], "file", "file x")
        assert server.fleet_index.by_name.keys() == {"mine"}

    with_server(tmp_path, work)


def test_two_vms_may_swap_their_addresses_in_one_sync(tmp_path: Path) -> None:
    async def work(server: AdminServer) -> None:
        await server.fleet_service.sync([a_vm("a", "10.0.0.1"), a_vm("b", "10.0.0.2")], "file", "x")
        await server.fleet_service.sync([a_vm("a", "10.0.0.2"), a_vm("b", "10.0.0.1")], "file", "x")
        found = [server.fleet_index.entry_at(f"10.0.0.{number}") for number in (1, 2)]
        assert [entry and entry.name for entry in found] == ["b", "a"]
        before = visible(server)
        with pytest.raises(ConfigError):
            await server.fleet_service.sync(
                [a_vm("a", "10.0.0.9"), a_vm("b", "10.0.0.9")], "file", "x"
            )
        assert visible(server) == before

    with_server(tmp_path, work)


def test_concurrent_changes_are_serialized(tmp_path: Path) -> None:
    async def work(server: AdminServer) -> None:
        puts = [server.fleet_service.put(a_vm(f"vm-{i % 7}", size=str(i)), "me") for i in range(60)]
        removes = [server.fleet_service.remove(f"vm-{i}", "me") for i in range(3)]
        await asyncio.gather(*puts, *removes)
        kept = {vm.name: decode_vm(vm) for vm in server.store.page("", 99)}
        assert kept == {name: entry.vm for name, entry in server.fleet_index.by_name.items()}
        numbers = [change.revision for change in server.store.changes(0, 999)]
        assert numbers == list(range(1, 64))
        assert server.fleet_service.revision == 63

    with_server(tmp_path, work)


def test_concurrent_claims_of_an_address_have_one_winner(tmp_path: Path) -> None:
    async def work(server: AdminServer) -> None:
        puts = [
            server.fleet_service.put(a_vm(f"vm-{i}", "10.0.0.1", listen=(f"unix:/{i}",)), "me")
            for i in range(5)
        ]
        others = [
            server.fleet_service.put(a_vm(f"other-{i}", listen=(f"unix:/other-{i}",)), "me")
            for i in range(5)
        ]
        got = await asyncio.gather(*puts, *others, return_exceptions=True)
        assert sum(isinstance(outcome, ConfigError) for outcome in got) == 4
        kept = [vm.name for vm in server.store.page("", 99)]
        assert kept == sorted(server.fleet_index.by_name)
        assert len(kept) == 6
        listeners = {
            text: name for name in kept for text in server.fleet_index.by_name[name].vm.reach.listen
        }
        assert server.fleet_index.listeners == server.opened[-1] == listeners
        assert len(listeners) == 6

    with_server(tmp_path, work)


def test_store_age_counts_from_its_last_answer(tmp_path: Path) -> None:
    async def work(server: AdminServer) -> None:
        server.now_s += 5
        assert server.fleet_service.store_age_s() == 5
        await server.fleet_service.call_store(server.store.revision)
        assert server.fleet_service.store_age_s() == 0
        server.now_s += 3
        server.store.fails = {"revision"}
        with pytest.raises(StoreError):
            await server.fleet_service.call_store(server.store.revision)
        assert server.fleet_service.store_age_s() == 3

    with_server(tmp_path, work)


def test_store_age_ignores_a_set_clock(tmp_path: Path) -> None:
    async def work(server: AdminServer) -> None:
        steady = [100.0]
        fleet_service = FleetService(
            server.store,
            server.fleet_index,
            lambda: server.now_s,
            server._open,
            now=lambda: steady[0],
        )
        server.now_s += 31_536_000
        assert fleet_service.store_age_s() == 0
        steady[0] += 5
        assert fleet_service.store_age_s() == 5
        await fleet_service.call_store(server.store.revision)
        assert fleet_service.store_age_s() == 0
        fleet_service._thread.shutdown()

    with_server(tmp_path, work)


def test_change_is_dated_by_the_settable_clock(tmp_path: Path) -> None:
    async def work(server: AdminServer) -> None:
        await server.fleet_service.put(a_vm("a"), "api 10.0.0.1")
        (change,) = server.store.changes(0, 9)
        assert (change.at, change.who) == ("2026-11-22T19:54:46.000+00:00", "api 10.0.0.1")

    with_server(tmp_path, work)


def test_endlessly_nested_patch_is_rejected(tmp_path: Path) -> None:
    deep: dict[str, object] = {}
    for _ in range(5000):
        deep = {"compute": deep}

    async def work(server: AdminServer) -> None:
        await server.fleet_service.put(Vm("a"), "me")
        before = visible(server)
        with pytest.raises(ConfigError, match="body: saw values nested too deeply"):
            await server.fleet_service.patch("a", deep, "me")
        assert visible(server) == before

    with_server(tmp_path, work)


def test_patch_of_a_missing_vm_returns_none(tmp_path: Path) -> None:
    async def work(server: AdminServer) -> None:
        assert await server.fleet_service.patch("nobody", {}, "me") is None

    with_server(tmp_path, work)


def test_concurrent_patches_are_all_applied(tmp_path: Path) -> None:
    async def work(server: AdminServer) -> None:
        await server.fleet_service.put(Vm("a"), "me")
        patches = [{"compute": {"tags": {str(n): "x"}}} for n in range(9)]
        await asyncio.gather(*(server.fleet_service.patch("a", patch, "me") for patch in patches))
        stored = server.store.get("a")
        assert stored
        assert decode_vm(stored).document["compute"]["tags"].count("x") == 9  # type: ignore[index]

    with_server(tmp_path, work)


def test_removal_by_sync_names_its_file_in_the_audit_log(tmp_path: Path) -> None:
    async def work(server: AdminServer) -> None:
        await server.fleet_service.sync([Vm("a"), Vm("b")], "file", "file x")
        await server.fleet_service.sync([Vm("a")], "file", "file x")
        last = server.store.changes(0, 9)[-1]
        assert (last.name, last.after, last.origin, last.who) == ("b", None, "file", "file x")

    with_server(tmp_path, work)


def test_patched_vm_keeps_the_origin_of_its_file(tmp_path: Path) -> None:
    async def work(server: AdminServer) -> None:
        await server.fleet_service.sync([Vm("a"), Vm("b")], "file", "file x")
        stored = await server.fleet_service.patch("a", {"compute": {"zone": "1"}}, "me")
        assert stored
        assert stored.origin == "file"
        await server.fleet_service.sync([Vm("b")], "file", "file x")
        assert server.fleet_index.by_name.keys() == {"b"}

    with_server(tmp_path, work)


def test_end_feeds_sends_none_to_subscribers(tmp_path: Path) -> None:
    async def work(server: AdminServer) -> None:
        feed = server.fleet_service.feeds.subscribe()
        await server.fleet_service.put(Vm("a"), "me")
        server.fleet_service.feeds.end()
        assert await feed.get() is None

    with_server(tmp_path, work)
