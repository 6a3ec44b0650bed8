"""Stored VMs that cannot be taken: they stop nobody else, and come back."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from collections.abc import Set as AbstractSet
from typing import Any

import msgspec.json
import pytest

from openimds.errors import ConfigError
from openimds.facts.versions import catalog
from openimds.fleet.index import FleetIndex, IndexUpdate, Precedence
from openimds.fleet.quarantine import (
    MOST_DETAILED,
    QuarantinedVm,
    TakenError,
    notices,
    summary,
)
from openimds.fleet.service import FleetService
from openimds.fleet.store.port import Write
from openimds.vm.fleet_file import parse_vm
from openimds.vm.types import Vm
from tests.unit.admin.setup import FailingStore

UNOPENABLE = "192.0.2.1:80"
DAMAGED = b'{"compute": '


def at(address: str, **members: object) -> dict[str, object]:
    return {"reach": {"address": [address]}, **members}


def vms(**members: dict[str, object]) -> list[Vm]:
    return [parse_vm(name, value) for name, value in members.items()]


class Fleet:
    """A fleet service over rows that were written behind its back."""

    def __init__(self, rows: Mapping[str, object], origins: Mapping[str, str]) -> None:
        self.store = FailingStore()
        bodies = {
            name: row if isinstance(row, bytes) else msgspec.json.encode(row)
            for name, row in rows.items()
        }
        writes = [Write(name, body, origins.get(name, "api")) for name, body in bodies.items()]
        self.store.write(writes, "earlier", "")
        self.index: FleetIndex[Any] = FleetIndex(catalog(), 1 << 20)
        self.messages: list[str] = []
        self.open: dict[str, str] = {}
        self.unopenable = {UNOPENABLE}
        self.service = FleetService(
            self.store, self.index, lambda: 0.0, self._open, notify=self.messages.append
        )

    async def _open(self, wanted: dict[str, str], keep: AbstractSet[str]) -> None:
        held = {text: name for text, name in self.open.items() if text in keep}
        self.open = held | {t: n for t, n in wanted.items() if t not in self.unopenable}
        for text in wanted.keys() & self.unopenable:
            where = f"vms.{wanted[text]}.reach.listen"
            raise TakenError(ConfigError(where, text, "a free address"), wanted[text], text)

    @property
    def served(self) -> set[str]:
        return {*self.index.by_name}

    @property
    def absent(self) -> set[str]:
        return {*self.index.quarantine}

    def stored(self) -> dict[str, bytes]:
        return {vm.name: vm.body for vm in self.store.page("", 999)}


def run(
    rows: Mapping[str, object],
    work: Callable[[Fleet], Awaitable[None]],
    origins: Mapping[str, str] | None = None,
    *,
    is_last: bool = True,
) -> None:
    async def main() -> None:
        fleet = Fleet(rows, origins or {})
        try:
            before = fleet.stored()
            await fleet.service.load(is_last=is_last)
            assert fleet.stored() == before
            await work(fleet)
        finally:
            fleet.service.close()

    asyncio.run(main())


@pytest.mark.parametrize(
    "body, reason",
    [
        (DAMAGED, "vms.bad: saw a stored body that is no JSON"),
        (b"\xff\xfe", "vms.bad: saw a stored body that is no JSON"),
        (b"[" * 100_000, "vms.bad: saw a stored body that is no JSON"),
        (b"[]", "vms.bad: saw a list of 0"),
        (b'{"fromTheFuture": 1}', 'vms.bad: saw unknown key "fromTheFuture"'),
        (b'{"compute": {"vmSize": 5}}', "vms.bad.compute.vmSize: saw the number 5"),
        (b'{"reach": {"address": ["nowhere"]}}', 'vms.bad.reach.address: saw "nowhere"'),
    ],
)
def test_bad_body_stops_nobody_else(body: bytes, reason: str) -> None:
    async def work(fleet: Fleet) -> None:
        assert (fleet.served, fleet.absent) == ({"a", "z"}, {"bad"})
        assert fleet.index.reason_of("bad").startswith(reason)
        assert fleet.index.returnable() == []

    run({"a": at("10.0.0.1"), "bad": body, "z": at("10.0.0.2")}, work)


def test_first_row_by_name_keeps_a_twofold_claim() -> None:
    async def work(fleet: Fleet) -> None:
        assert (fleet.served, fleet.absent) == ({"a", "d"}, {"b", "c"})
        assert fleet.index.reason_of("b") == (
            "vms.b.reach.address: saw 10.0.0.1, which is also that of a, expected one VM to each. "
            "Give one of them another private address, or a reach of its own"
        )
        for address, name in (("10.0.0.1", "a"), ("10.0.0.9", "d")):
            entry = fleet.index.entry_at(address)
            assert entry
            assert entry.name == name
        # What a quarantined VM claims besides is free.
        assert fleet.index.entry_at("10.0.0.2") is None
        assert fleet.open == {"unix:/a": "a"}

    a = {"reach": {"address": ["10.0.0.1"], "listen": ["unix:/a"]}}
    b = {"reach": {"address": ["10.0.0.2", "10.0.0.1"]}}
    c = {"reach": {"address": ["10.0.0.3"], "listen": ["unix:/c", "unix:/a"]}}
    run({"a": a, "b": b, "c": c, "d": at("10.0.0.9")}, work)


def test_rows_of_later_pages_meet_earlier_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("openimds.fleet.service._PAGE", 1)

    async def work(fleet: Fleet) -> None:
        assert (fleet.served, fleet.absent) == ({"a", "c"}, {"b"})

    run({"a": at("10.0.0.1"), "b": at("10.0.0.1"), "c": at("10.0.0.3")}, work)


def test_vm_whose_listener_cannot_open_stops_nobody_else() -> None:
    async def work(fleet: Fleet) -> None:
        assert (fleet.served, fleet.absent) == ({"b", "c"}, {"a"})
        assert fleet.open == {"unix:/b": "b"}
        await fleet.service.return_quarantined()
        assert (fleet.absent, fleet.open) == ({"a"}, {"unix:/b": "b"})
        fleet.unopenable.clear()
        await fleet.service.return_quarantined()
        assert fleet.served == {"a", "b", "c"}
        assert fleet.open == {"unix:/b": "b", "unix:/a": "a", UNOPENABLE: "a"}

    a = {"reach": {"address": [], "listen": ["unix:/a", UNOPENABLE]}}
    b = {"reach": {"address": [], "listen": ["unix:/b"]}}
    run({"a": a, "b": b, "c": {}}, work)


@pytest.mark.parametrize("way", ["remove", "move"])
def test_vm_comes_back_when_its_claim_is_free(way: str) -> None:
    async def work(fleet: Fleet) -> None:
        before = fleet.stored()["b"]
        await fleet.service.put(parse_vm("c", {}), "me")
        assert fleet.absent == {"b", "bad"}
        if way == "remove":
            await fleet.service.remove("a", "me")
        else:
            await fleet.service.put(parse_vm("a", at("10.0.0.7")), "me")
        assert fleet.absent == {"bad"}
        entry = fleet.index.entry_at("10.0.0.1")
        assert entry
        assert entry.name == "b"
        assert fleet.stored()["b"] == before
        assert fleet.messages == ["b is served again: what it claims is free"]

    run({"a": at("10.0.0.1"), "b": at("10.0.0.1"), "bad": DAMAGED}, work)


def test_one_of_several_waiting_vms_comes_back() -> None:
    async def work(fleet: Fleet) -> None:
        assert fleet.absent == {"b", "c"}
        await fleet.service.remove("a", "me")
        assert (fleet.served, fleet.absent) == ({"b"}, {"c"})
        assert "also that of b" in fleet.index.reason_of("c")
        await fleet.service.remove("b", "me")
        assert (fleet.served, fleet.absent) == ({"c"}, set())

    run({name: at("10.0.0.1") for name in "abc"}, work)


def test_vm_with_another_taken_claim_waits_for_that() -> None:
    async def work(fleet: Fleet) -> None:
        await fleet.service.remove("a", "me")
        assert (fleet.served, fleet.absent) == ({"b"}, {"c"})
        assert "10.0.0.2, which is also that of b" in fleet.index.reason_of("c")
        await fleet.service.remove("b", "me")
        assert fleet.served == {"c"}

    both = {"reach": {"address": ["10.0.0.1", "10.0.0.2"]}}
    run({"a": at("10.0.0.1"), "b": at("10.0.0.2"), "c": both}, work)


def test_another_reason_of_a_quarantine_is_sent_to_the_host() -> None:
    async def work(fleet: Fleet) -> None:
        sent: list[IndexUpdate] = []

        async def take(update: IndexUpdate) -> None:
            sent.append(update)

        fleet.service.after_change = take
        await fleet.service.remove("a", "me")
        *_, last = sent
        assert last.quarantined == {"c": fleet.index.quarantine["c"]}
        assert "also that of b" in fleet.index.reason_of("c")
        sent.clear()
        await fleet.service.return_quarantined()
        assert sent == []

    run({name: at("10.0.0.1") for name in "abc"}, work)


def test_reason_that_stays_is_not_sent_again() -> None:
    async def work(fleet: Fleet) -> None:
        sent: list[IndexUpdate] = []

        async def take(update: IndexUpdate) -> None:
            sent.append(update)

        fleet.service.after_change = take
        for _ in range(2):
            await fleet.service.return_quarantined()
        assert fleet.absent == {"a"}
        assert sent == []

    run({"a": {"reach": {"listen": [UNOPENABLE]}}}, work)


def test_failing_store_leaves_a_vm_in_quarantine() -> None:
    async def work(fleet: Fleet) -> None:
        update = fleet.index.plan([], ["a"])
        fleet.index.apply(update)
        fleet.store.fails = {"get"}
        await fleet.service.return_quarantined()
        assert fleet.absent == {"b"}
        assert fleet.messages == [
            "the store takes no change: fleet.db: the disk is full. The fleet is served as it is",
            "b is still not served: fleet.db: the disk is full",
        ]
        fleet.store.fails = set()
        await fleet.service.return_quarantined()
        assert fleet.served == {"b"}

    run({"a": at("10.0.0.1"), "b": at("10.0.0.1")}, work)


@pytest.mark.parametrize("row", [DAMAGED, at("10.0.0.1"), {"fromTheFuture": 1}])
def test_put_replaces_a_quarantined_vm(row: object) -> None:
    async def work(fleet: Fleet) -> None:
        assert fleet.absent == {"b"}
        stored, is_new = await fleet.service.put(parse_vm("b", at("10.0.0.2")), "me")
        assert (is_new, stored.origin) == (False, "api")
        assert (fleet.served, fleet.absent) == ({"a", "b"}, set())

    run({"a": at("10.0.0.1"), "b": row}, work)


@pytest.mark.parametrize("row", [DAMAGED, at("10.0.0.1")])
def test_remove_deletes_a_quarantined_vm(row: object) -> None:
    async def work(fleet: Fleet) -> None:
        assert await fleet.service.remove("b", "me")
        assert (fleet.served, fleet.absent) == ({"a"}, set())
        assert fleet.stored().keys() == {"a"}

    run({"a": at("10.0.0.1"), "b": row}, work)


def test_patch_repairs_a_body_of_another_release() -> None:
    async def work(fleet: Fleet) -> None:
        with pytest.raises(ConfigError, match="a stored body that is no JSON"):
            await fleet.service.patch("damaged", {}, "me")
        await fleet.service.patch("newer", {"fromTheFuture": None}, "me")
        assert (fleet.served, fleet.absent) == ({"newer"}, {"damaged"})
        assert fleet.stored() == {"damaged": DAMAGED, "newer": b"{}"}

    run({"damaged": DAMAGED, "newer": {"fromTheFuture": 1}}, work)


def test_refused_put_leaves_a_vm_in_quarantine() -> None:
    async def work(fleet: Fleet) -> None:
        with pytest.raises(ConfigError):
            await fleet.service.put(parse_vm("b", at("10.0.0.1", compute={"zone": "1"})), "me")
        assert fleet.absent == {"b"}

    run({"a": at("10.0.0.1"), "b": at("10.0.0.1")}, work)


def test_served_vm_beside_a_quarantined_one_is_not_alone() -> None:
    """Else it would answer the callers of the other one."""

    async def work(fleet: Fleet) -> None:
        assert fleet.index.entry_at("203.0.113.9") is None
        fleet.index.compact()
        assert (fleet.absent, fleet.index.only) == ({"b"}, None)
        await fleet.service.remove("b", "me")
        entry = fleet.index.entry_at("203.0.113.9")
        assert entry is fleet.index.only is not None

    run({"a": {}, "b": DAMAGED}, work)


def test_file_takes_precedence_over_stored_vms_at_the_start() -> None:
    async def work(fleet: Fleet) -> None:
        wanted = vms(red=at("10.0.0.1"), green={"reach": {"listen": ["unix:/x"], "address": []}})
        await fleet.service.sync(wanted, "file", "start", is_start=True)
        assert (fleet.served, fleet.absent) == ({"red", "green", "lone"}, {"blue", "old"})
        assert fleet.index.reason_of("blue").startswith(
            "vms.blue.reach.address: saw 10.0.0.1, which is also that of red"
        )
        assert fleet.open == {"unix:/x": "green"}
        assert {"blue", "old"} <= fleet.stored().keys()
        # Without its VM in the file, the stored one is served again.
        await fleet.service.sync(vms(green={}), "file", "edit")
        assert fleet.served == {"green", "lone", "blue", "old"}
        assert fleet.open == {"unix:/x": "old"}

    old = {"reach": {"address": [], "listen": ["unix:/x"]}}
    run({"blue": at("10.0.0.1"), "old": old, "lone": {}}, work, is_last=False)


@pytest.mark.parametrize("stored", ["blue", "red", "green"])
def test_conflict_inside_the_file_is_refused_at_the_start(stored: str) -> None:
    """Also where the row of one of the two VMs is as in the file."""

    async def work(fleet: Fleet) -> None:
        wanted = vms(red=at("10.0.0.1"), green=at("10.0.0.1"))
        with pytest.raises(ConfigError, match=r"10.0.0.1, which is also that of (red|green)"):
            await fleet.service.sync(wanted, "file", "start", is_start=True)
        assert fleet.absent == set()

    run({stored: at("10.0.0.1")}, work, {"red": "file", "green": "file"}, is_last=False)


def test_edit_does_not_displace_a_vm_that_is_served() -> None:
    async def work(fleet: Fleet) -> None:
        with pytest.raises(ConfigError, match=r"vms.red.*also that of blue"):
            await fleet.service.sync(vms(red=at("10.0.0.1")), "file", "edit")
        assert (fleet.served, fleet.absent) == ({"blue"}, set())

    run({"blue": at("10.0.0.1")}, work)


def test_file_replaces_a_quarantined_row_of_its_own() -> None:
    async def work(fleet: Fleet) -> None:
        assert fleet.absent == {"same", "worse"}
        wanted = vms(same=at("10.0.0.1"), worse={})
        await fleet.service.sync(wanted, "file", "start", is_start=True)
        assert (fleet.served, fleet.absent) == ({"same", "worse"}, {"blue"})

    rows = {"blue": at("10.0.0.1"), "same": at("10.0.0.1"), "worse": DAMAGED}
    origins = {"same": "file", "worse": "file"}
    run(rows, work, origins, is_last=False)


def test_listener_of_a_stored_vm_does_not_stop_a_file() -> None:
    async def work(fleet: Fleet) -> None:
        await fleet.service.sync(vms(red={}), "file", "start", is_start=True)
        assert (fleet.served, fleet.absent) == ({"red"}, {"blue"})

    run({"blue": {"reach": {"listen": [UNOPENABLE]}}}, work, is_last=False)


def test_listener_that_the_api_set_stops_no_file() -> None:
    """Neither at the start nor at a later edit, which opens its own listeners."""
    listen: dict[str, object] = {"reach": {"address": [], "listen": ["unix:/x"]}}

    async def work(fleet: Fleet) -> None:
        await fleet.service.sync(vms(red={}, green={}), "file", "start", is_start=True)
        assert (fleet.served, fleet.absent) == ({"green"}, {"red"})
        await fleet.service.sync(vms(red={}, green=listen), "file", "edit")
        assert (fleet.served, fleet.absent) == ({"green"}, {"red"})
        assert fleet.open == {"unix:/x": "green"}
        with pytest.raises(ConfigError, match=r"vms.green.reach.listen: saw 192.0.2.1:80"):
            await fleet.service.sync(vms(red={}, green=unopenable), "file", "edit")
        assert fleet.open == {"unix:/x": "green"}
        fleet.unopenable.clear()
        await fleet.service.return_quarantined()
        assert fleet.served == {"green", "red"}

    unopenable: dict[str, object] = {"reach": {"address": [], "listen": [UNOPENABLE]}}
    run({"red": unopenable, "green": {}}, work, {"red": "file", "green": "file"}, is_last=False)


@pytest.mark.parametrize("is_stored", [False, True])
def test_listener_of_the_file_itself_stops_the_start(*, is_stored: bool) -> None:
    red: dict[str, object] = {"reach": {"listen": [UNOPENABLE]}}

    async def work(fleet: Fleet) -> None:
        with pytest.raises(ConfigError, match=r"vms.red.reach.listen: saw 192.0.2.1:80"):
            await fleet.service.sync(vms(red=red), "file", "start", is_start=True)

    run({"red": red} if is_stored else {}, work, {"red": "file"}, is_last=False)


def test_planned_vm_displaces_each_vm_in_its_way() -> None:
    index: FleetIndex[object] = FleetIndex(catalog(), 1 << 20)
    index.apply(index.plan(vms(a=at("10.0.0.1"), b=at("10.0.0.2"), c=at("10.0.0.3"))))
    both: dict[str, object] = {"reach": {"address": ["10.0.0.1", "10.0.0.2"]}}
    update = index.plan(vms(red=both), (), Precedence.PLANNED)
    assert {*update.quarantined} == {"a", "b"}
    index.apply(update)
    assert {*index.by_name} == {"c", "red"}
    assert {address for address in ("10.0.0.1", "10.0.0.2") if index.entry_at(address)} == {
        "10.0.0.1",
        "10.0.0.2",
    }
    index.apply(index.plan([], ["a"]))
    assert {*index.quarantine} == {"b"}


def test_reports_name_a_bounded_number_of_vms() -> None:
    assert (summary({}), [*notices({})]) == ("", [])
    many = {f"vm-{n:02}": QuarantinedVm(f"vm-{n:02}", "a reason") for n in range(MOST_DETAILED + 2)}
    lines = [*notices(many)]
    assert len(lines) == MOST_DETAILED + 1
    assert lines[0] == (
        "vm-00 is not served: a reason. It stays in the store; replace it with openimds vm put, or "
        "type openimds vm remove vm-00"
    )
    assert lines[-1] == "2 more stored VMs are not served; openimds vm list shows them"
    assert summary(many).startswith("not served: vm-00, vm-01, ")
    assert summary(many).endswith(f", vm-{MOST_DETAILED - 1}, and 2 more")
    few = dict([*many.items()][:MOST_DETAILED])
    assert len([*notices(few)]) == MOST_DETAILED
    assert "more" not in summary(few)
