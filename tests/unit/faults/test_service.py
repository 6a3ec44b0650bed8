"""Faults of a running server: set, stored, followed from the file, cleared."""

from collections.abc import Awaitable, Callable, Iterable
from pathlib import Path
from typing import Any

import msgspec.json
import pytest

from openimds.errors import ConfigError
from openimds.faults import ActiveFault, FaultService
from openimds.faults.service import NOTE, StoredFault
from openimds.fleet.store.port import EventBatch, StoreError
from openimds.log.event import LogMessage
from openimds.protocol.faults.fault import FaultSpec, fault_to_value
from openimds.protocol.faults.input import MOST_FAULTS, read_faults
from openimds.protocol.request import parse_query
from tests.unit.admin.setup import AdminServer, with_server

QUERY = parse_query("GET", b"/metadata/instance?api-version=2021-02-01", has_metadata_header=True)
GONE = {"effect": "status", "status": 410}
HANG = {"effect": "hang"}
STORED = msgspec.json.encode(StoredFault("8", 1.0, "", {**HANG}))


def run(folder: Path, work: Callable[[AdminServer], Awaitable[None]]) -> None:
    async def with_two_vms(server: AdminServer) -> None:
        for name in ("a", "b"):
            await server.api.put(f"/v1/vms/{name}", json={"compute": {"vmSize": "S"}})
        await server.faults.load(())
        await work(server)

    with_server(folder, with_two_vms)


def shown(faults: FaultService) -> list[tuple[str, str, dict[str, Any]]]:
    return [(active.key, active.origin, fault_to_value(active.spec)) for active in faults.running]


def concerns_guests(server: AdminServer) -> bool:
    """Tell whether the data plane asks for a fault."""
    return server.faults.injector.concerns_guests


async def restarted(server: AdminServer, *of_file: dict[str, Any]) -> FaultService:
    """Return the faults of another process over the same store."""
    new = FaultService(server.fleet_service, lambda: server.now_s)
    await new.load(read_faults([*of_file]))
    return new


def test_injector_concerns_guests_while_a_fault_is_set(
    tmp_path: Path,
) -> None:
    async def work(server: AdminServer) -> None:
        changes: list[int] = []

        async def on_change() -> None:
            changes.append(len(server.faults.running))

        server.faults.on_change = on_change
        assert await server.faults.clear() == 0
        await server.faults.set(GONE)
        await server.faults.set(HANG)
        assert concerns_guests(server)
        assert await server.faults.clear("1") == 1
        assert await server.faults.clear("1") == 0
        assert concerns_guests(server)
        assert await server.faults.clear() == 1
        assert not concerns_guests(server)
        assert changes == [1, 2, 1, 0]

    run(tmp_path, work)


def test_new_fault_is_returned_and_played(tmp_path: Path) -> None:
    async def work(server: AdminServer) -> None:
        (new,) = await server.faults.set({**GONE, "vms": ["a"]})
        assert isinstance(new, ActiveFault)
        assert (new.key, new.origin, new.begun_s) == ("1", "api", server.now_s)
        assert server.faults.injector.fault("a", QUERY, server.now_s) is not None
        assert (new.seen, new.played, server.faults.played) == (1, 1, {"status": 1})

    run(tmp_path, work)


def test_playbook_is_played_for_some_vms_or_all(tmp_path: Path) -> None:
    async def work(server: AdminServer) -> None:
        new = await server.faults.play("restart", "a", "b", refused_s=1)
        assert [fault_to_value(active.spec) for active in new] == [
            {"effect": "refused", "vms": ["a", "b"], "until_s": 1, "playbook": "restart"},
            {
                "effect": "proxy-500",
                "vms": ["a", "b"],
                "from_s": 1,
                "until_s": 10,
                "playbook": "restart",
            },
        ]
        (one,) = await server.faults.play("old-region")
        assert fault_to_value(one.spec)["newest"] == "2020-10-01"

    run(tmp_path, work)


def test_fault_of_the_api_survives_a_restart_with_its_time(tmp_path: Path) -> None:
    async def work(server: AdminServer) -> None:
        await server.faults.set({**GONE, "until_s": 70})
        await server.faults.play("partial-document", "a")
        await server.faults.set(HANG)
        await server.faults.clear("1")
        begun_s, server.now_s = server.now_s, server.now_s + 5
        again = await restarted(server, {"effect": "reset"})
        assert shown(again) == [
            ("4", "file", {"effect": "reset"}),
            *shown(server.faults),
        ]
        assert [active.begun_s - begun_s for active in again.running] == [5, 0, 0]
        (new,) = await again.set(GONE)
        assert new.key == "5"
        await again.clear()
        assert shown(await restarted(server)) == []

    run(tmp_path, work)


def test_failing_store_leaves_the_faults_as_they_were(tmp_path: Path) -> None:
    async def work(server: AdminServer) -> None:
        await server.faults.set(HANG)
        server.store.fails = {"write_events"}
        for change in (server.faults.set(GONE), server.faults.clear()):
            with pytest.raises(StoreError):
                await change
        assert [members["effect"] for _, _, members in shown(server.faults)] == ["hang"]

    run(tmp_path, work)


@pytest.mark.parametrize(
    "value, where, seen",
    [
        ({**GONE, "vms": ["a", "c"]}, "vms", 'unknown VM "c"'),
        ({"playbook": "restart", "vms": ["bb"]}, "vms", 'unknown VM "bb"'),
        ({"effect": "status"}, "body", "no status"),
    ],
)
def test_refused_fault_changes_nothing(
    tmp_path: Path, value: object, where: str, seen: str
) -> None:
    async def work(server: AdminServer) -> None:
        with pytest.raises(ConfigError) as caught:
            await server.faults.set(value)
        assert (caught.value.where, caught.value.seen) == (where, seen)
        assert server.faults.running == ()
        assert not concerns_guests(server)

    run(tmp_path, work)


def test_number_of_faults_is_bounded(tmp_path: Path) -> None:
    async def work(server: AdminServer) -> None:
        for _ in range(MOST_FAULTS - 1):
            await server.faults.set(HANG)
        with pytest.raises(ConfigError, match=f"saw more than {MOST_FAULTS} faults"):
            await server.faults.play("restart")
        await server.faults.set(HANG)
        assert len(server.faults.running) == MOST_FAULTS

    run(tmp_path, work)


def test_unchanged_fault_of_the_file_keeps_its_counters(tmp_path: Path) -> None:
    async def work(server: AdminServer) -> None:
        faults = server.faults
        await faults.follow(read_faults([GONE, HANG]))
        await faults.set({"effect": "reset"})
        for _ in range(3):
            faults.injector.fault("a", QUERY, server.now_s)
        server.now_s += 5
        await faults.follow(read_faults([{"effect": "cut"}, GONE, GONE]))
        assert [(key, origin, members["effect"]) for key, origin, members in shown(faults)] == [
            ("4", "file", "cut"),
            ("1", "file", "status"),
            ("5", "file", "status"),
            ("3", "api", "reset"),
        ]
        assert [active.seen for active in faults.running] == [0, 3, 0, 3]
        assert [server.now_s - active.begun_s for active in faults.running] == [0, 5, 0, 5]
        await faults.follow(())
        assert [key for key, _, _ in shown(faults)] == ["3"]

    run(tmp_path, work)


def test_file_may_name_vms_that_come_with_it(tmp_path: Path) -> None:
    async def work(server: AdminServer) -> None:
        server.faults.check(read_faults([{**GONE, "vms": ["a", "new"]}]), ["new"])
        with pytest.raises(ConfigError, match='unknown VM "new"'):
            server.faults.check(read_faults([{**GONE, "vms": ["new"]}]))

    run(tmp_path, work)


def test_file_that_names_an_unknown_vm_stops_the_start(tmp_path: Path) -> None:
    async def work(server: AdminServer) -> None:
        with pytest.raises(ConfigError, match=r'faults\.vms: saw unknown VM "c"'):
            await restarted(server, {**GONE, "vms": ["c"]})

    run(tmp_path, work)


def test_fault_that_this_system_cannot_play_is_refused(tmp_path: Path) -> None:
    async def work(server: AdminServer) -> None:
        await server.faults.set(HANG)
        checked: list[list[str]] = []

        def check(specs: Iterable[FaultSpec]) -> None:
            checked.append([spec.effect for spec in specs])
            if "reset" in checked[-1]:
                raise ConfigError("effect", "reset", "another")

        server.faults.check_system = check
        with pytest.raises(ConfigError) as caught:
            await server.faults.set({"effect": "reset"})
        assert caught.value.where == "effect"
        assert [active.spec.effect for active in server.faults.running] == ["hang"]
        with pytest.raises(ConfigError) as caught:
            server.faults.check(read_faults([{"effect": "reset"}]))
        assert caught.value.where == "faults: effect"
        await server.faults.set(GONE)
        assert checked == [["hang", "reset"], ["reset"], ["hang", "status"]]

    run(tmp_path, work)


@pytest.mark.parametrize("vms, stale", [((), ["a", "b"]), (("b",), ["b"])])
def test_stale_document_is_that_of_when_the_fault_was_set(
    tmp_path: Path, vms: tuple[str, ...], stale: list[str]
) -> None:
    async def work(server: AdminServer) -> None:
        fault = {"effect": "stale-document"}
        await server.faults.set({**fault, "vms": [*vms]} if vms else fault)
        for name in ("a", "b"):
            await server.api.put(f"/v1/vms/{name}", json={"compute": {"vmSize": "T"}})
        hits = [server.faults.injector.fault(name, QUERY, server.now_s) for name in ("a", "b")]
        before = [hit.before for hit in hits if hit and hit.before]
        assert [(vm.name, vm.document) for vm in before] == [
            (name, {"compute": {"vmSize": "S"}}) for name in stale
        ]

    run(tmp_path, work)


def test_faults_of_the_file_are_cleared_without_the_store(tmp_path: Path) -> None:
    async def work(server: AdminServer) -> None:
        await server.faults.follow(read_faults([GONE]))
        server.store.fails = {"write_events"}
        assert await server.faults.clear() == 1
        assert not concerns_guests(server)

    run(tmp_path, work)


def test_fault_gets_no_key_of_one_that_goes_on(tmp_path: Path) -> None:
    async def work(server: AdminServer) -> None:
        await server.faults.follow(read_faults([GONE]))
        utc, injector = (lambda: server.now_s), server.faults.injector
        again = FaultService(server.fleet_service, utc, injector=injector)
        await again.load(read_faults([GONE]))
        await again.set(HANG)
        assert [active.key for active in again.running] == ["1", "2"]

    run(tmp_path, work)


def test_fault_of_verifiers_leaves_the_data_plane_alone(tmp_path: Path) -> None:
    async def work(server: AdminServer) -> None:
        lists = {"effect": "revocation-list", "answer": "stale"}
        (fault,) = await server.faults.set(lists)
        assert not concerns_guests(server)
        await server.faults.set(GONE)
        assert concerns_guests(server)
        await server.faults.clear("2")
        assert not concerns_guests(server)
        again = await restarted(server)
        assert [active.spec for active in again.running] == [fault.spec]

    run(tmp_path, work)


def test_removed_vm_does_no_harm_after_a_restart(tmp_path: Path) -> None:
    async def work(server: AdminServer) -> None:
        await server.faults.set({"effect": "stale-document", "vms": ["a"]})
        await server.api.delete("/v1/vms/a")
        again = await restarted(server)
        assert [active.spec.vms for active in again.running] == [("a",)]

    run(tmp_path, work)


@pytest.mark.parametrize(
    "note, kept, reason",
    [
        (b"{no faults", [], "the row of stored faults is left out: it is damaged"),
        (b'[{"key": "x"}]', [], "the row of stored faults is left out: it is damaged"),
        (
            b"[%s,%s]"
            % (msgspec.json.encode(StoredFault("7", 1.0, "", {"effect": "new"})), STORED),
            ["8"],
            "the stored fault 7 is left out: it is damaged, or another release wrote it (faults[7]",
        ),
    ],
)
def test_unreadable_stored_fault_stops_no_start(
    tmp_path: Path, note: bytes, kept: list[str], reason: str
) -> None:
    async def work(server: AdminServer) -> None:
        server.store.write_events(EventBatch(values={NOTE: note}))
        messages: list[str] = []
        new = FaultService(server.fleet_service, lambda: server.now_s, notify=messages.append)
        await new.load(read_faults([GONE]))
        assert [(active.key, active.origin) for active in new.running[1:]] == [
            (key, "api") for key in kept
        ]
        message = messages[0]  # Then those of the faults that are set.
        assert message.startswith(reason)

    run(tmp_path, work)


def test_faults_are_logged_when_set_and_cleared(tmp_path: Path) -> None:
    async def work(server: AdminServer) -> None:
        messages: list[str] = []
        faults = FaultService(server.fleet_service, lambda: server.now_s, notify=messages.append)
        await faults.load(read_faults([HANG]))
        await faults.set(GONE)
        await faults.clear("2")
        await faults.follow(())
        await faults.clear()
        assert messages == [
            "1 fault set: hang",
            "1 fault set: status",
            "1 fault cleared: status",
            "1 fault cleared: hang",
        ]
        event = messages[1]
        assert isinstance(event, LogMessage)
        assert event.fields == {"faults": ("2",), "effects": ("status",), "count": 1}

    run(tmp_path, work)
