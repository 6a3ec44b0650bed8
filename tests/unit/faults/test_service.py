"""FaultService are set, kept, followed from a file, and cleared."""

from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from openimds.errors import ConfigError
from openimds.faults import ActiveFault, FaultInjector, FaultService
from openimds.fleet.store.port import StoreError
from openimds.protocol.faults.fault import fault_to_value
from openimds.protocol.faults.input import MOST_PLANS, plans
from openimds.protocol.request import query
from tests.unit.admin.setup import Office, at_work

ASKED = query("GET", b"/metadata/instance?api-version=2021-02-01")
GONE = {"effect": "status", "status": 410}
HANG = {"effect": "hang"}


def play(folder: Path, work: Callable[[Office], Awaitable[None]]) -> None:
    async def whole(office: Office) -> None:
        for name in ("a", "b"):
            await office.api.put(f"/v1/vms/{name}", json={"compute": {"vmSize": "S"}})
        await office.faults.load(())
        await work(office)

    at_work(folder, whole)


def shown(faults: FaultService) -> list[tuple[str, str, dict[str, Any]]]:
    return [(one.key, one.origin, fault_to_value(one.plan)) for one in faults.running]


async def restarted(office: Office, *of_file: dict[str, Any]) -> FaultService:
    """Return the faults of another process over the same store."""
    engines: list[FaultInjector | None] = []
    made = FaultService(office.fleet_service, lambda: office.now_s, engines.append)
    await made.load(plans([*of_file]))
    return made


def test_the_plane_is_told_when_there_is_something_and_when_there_is_nothing(
    tmp_path: Path,
) -> None:
    async def work(office: Office) -> None:
        changes: list[int] = []

        async def on_change() -> None:
            changes.append(len(office.faults.running))

        office.faults.on_change = on_change
        assert await office.faults.clear() == 0
        await office.faults.set(GONE)
        await office.faults.set(HANG)
        assert office.engines == [office.faults.engine]
        assert await office.faults.clear("1") == 1
        assert await office.faults.clear("1") == 0
        assert office.engines == [office.faults.engine]
        assert await office.faults.clear() == 1
        assert office.engines == [office.faults.engine, None]
        assert changes == [1, 2, 1, 0]

    play(tmp_path, work)


def test_what_was_set_is_returned_and_played(tmp_path: Path) -> None:
    async def work(office: Office) -> None:
        (made,) = await office.faults.set({**GONE, "vms": ["a"]})
        assert isinstance(made, ActiveFault)
        assert (made.key, made.origin, made.begun_s) == ("1", "api", office.now_s)
        assert office.faults.engine.fault("a", ASKED, office.now_s) is not None
        assert (made.seen, made.played, office.faults.played) == (1, 1, {"status": 1})

    play(tmp_path, work)


def test_a_playbook_is_played_for_some_or_for_all(tmp_path: Path) -> None:
    async def work(office: Office) -> None:
        made = await office.faults.play("restart", "a", "b", refused_s=1)
        assert [fault_to_value(one.plan) for one in made] == [
            {"effect": "refused", "vms": ["a", "b"], "until_s": 1, "playbook": "restart"},
            {
                "effect": "proxy-500",
                "vms": ["a", "b"],
                "from_s": 1,
                "until_s": 10,
                "playbook": "restart",
            },
        ]
        (one,) = await office.faults.play("old-region")
        assert fault_to_value(one.plan)["newest"] == "2020-10-01"

    play(tmp_path, work)


def test_what_came_by_the_api_is_there_after_a_restart_with_its_time(tmp_path: Path) -> None:
    async def work(office: Office) -> None:
        await office.faults.set({**GONE, "until_s": 70})
        await office.faults.play("partial-document", "a")
        await office.faults.set(HANG)
        await office.faults.clear("1")
        began_s, office.now_s = office.now_s, office.now_s + 5
        again = await restarted(office, {"effect": "reset"})
        assert shown(again) == [
            ("4", "file", {"effect": "reset"}),
            *shown(office.faults),
        ]
        assert [one.begun_s - began_s for one in again.running] == [5, 0, 0]
        (made,) = await again.set(GONE)
        assert made.key == "5"
        await again.clear()
        assert shown(await restarted(office)) == []

    play(tmp_path, work)


def test_what_is_not_written_is_not_set_and_not_cleared(tmp_path: Path) -> None:
    async def work(office: Office) -> None:
        await office.faults.set(HANG)
        office.store.fails = {"write_events"}
        for change in (office.faults.set(GONE), office.faults.clear()):
            with pytest.raises(StoreError):
                await change
        assert [one[2]["effect"] for one in shown(office.faults)] == ["hang"]

    play(tmp_path, work)


@pytest.mark.parametrize(
    "value, where, seen",
    [
        ({**GONE, "vms": ["a", "c"]}, "vms", '"c", which is no VM'),
        ({"playbook": "restart", "vms": ["bb"]}, "vms", '"bb", which is no VM'),
        ({"effect": "status"}, "body", "no status"),
    ],
)
def test_what_cannot_be_set_changes_nothing(
    tmp_path: Path, value: object, where: str, seen: str
) -> None:
    async def work(office: Office) -> None:
        with pytest.raises(ConfigError) as caught:
            await office.faults.set(value)
        assert (caught.value.where, caught.value.seen) == (where, seen)
        assert office.faults.running == ()
        assert office.engines == []

    play(tmp_path, work)


def test_there_is_an_end_to_faults(tmp_path: Path) -> None:
    async def work(office: Office) -> None:
        for _ in range(MOST_PLANS - 1):
            await office.faults.set(HANG)
        with pytest.raises(ConfigError, match=f"saw more than {MOST_PLANS} faults"):
            await office.faults.play("restart")
        await office.faults.set(HANG)
        assert len(office.faults.running) == MOST_PLANS

    play(tmp_path, work)


def test_a_file_is_followed_and_what_stays_goes_on_counting(tmp_path: Path) -> None:
    async def work(office: Office) -> None:
        faults = office.faults
        await faults.follow(plans([GONE, HANG]))
        await faults.set({"effect": "reset"})
        for _ in range(3):
            faults.engine.fault("a", ASKED, office.now_s)
        office.now_s += 5
        await faults.follow(plans([{"effect": "cut"}, GONE, GONE]))
        assert [(key, of, one["effect"]) for key, of, one in shown(faults)] == [
            ("4", "file", "cut"),
            ("1", "file", "status"),
            ("5", "file", "status"),
            ("3", "api", "reset"),
        ]
        assert [one.seen for one in faults.running] == [0, 3, 0, 3]
        assert [office.now_s - one.begun_s for one in faults.running] == [0, 5, 0, 5]
        await faults.follow(())
        assert [one[0] for one in shown(faults)] == ["3"]

    play(tmp_path, work)


def test_a_file_may_name_vms_that_come_with_it(tmp_path: Path) -> None:
    async def work(office: Office) -> None:
        office.faults.check(plans([{**GONE, "vms": ["a", "new"]}]), ["new"])
        with pytest.raises(ConfigError, match='"new", which is no VM'):
            office.faults.check(plans([{**GONE, "vms": ["new"]}]))

    play(tmp_path, work)


def test_a_file_that_names_no_vm_of_ours_stops_the_start(tmp_path: Path) -> None:
    async def work(office: Office) -> None:
        with pytest.raises(ConfigError, match=r'faults\.vms: saw "c", which is no VM'):
            await restarted(office, {**GONE, "vms": ["c"]})

    play(tmp_path, work)


@pytest.mark.parametrize("vms, stale", [((), ["a", "b"]), (("b",), ["b"])])
def test_the_document_of_before_is_that_of_the_moment(
    tmp_path: Path, vms: tuple[str, ...], stale: list[str]
) -> None:
    async def work(office: Office) -> None:
        said_of = {"effect": "stale-document"}
        await office.faults.set({**said_of, "vms": [*vms]} if vms else said_of)
        for name in ("a", "b"):
            await office.api.put(f"/v1/vms/{name}", json={"compute": {"vmSize": "T"}})
        found = [office.faults.engine.fault(name, ASKED, office.now_s) for name in ("a", "b")]
        before = [one.before for one in found if one and one.before]
        assert [(one.name, one.document) for one in before] == [
            (name, {"compute": {"vmSize": "S"}}) for name in stale
        ]

    play(tmp_path, work)


def test_what_stands_in_a_file_is_cleared_without_the_store(tmp_path: Path) -> None:
    async def work(office: Office) -> None:
        await office.faults.follow(plans([GONE]))
        office.store.fails = {"write_events"}
        assert await office.faults.clear() == 1
        assert office.engines == [office.faults.engine, None]

    play(tmp_path, work)


def test_a_vm_that_is_gone_after_a_restart_does_no_harm(tmp_path: Path) -> None:
    async def work(office: Office) -> None:
        await office.faults.set({"effect": "stale-document", "vms": ["a"]})
        await office.api.delete("/v1/vms/a")
        again = await restarted(office)
        assert [one.plan.vms for one in again.running] == [("a",)]

    play(tmp_path, work)
