"""The files by which a host tells its machine its VMs and its standing."""

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from openimds import private_files
from openimds.fleet.fleet_files import read_fleet
from openimds.linux.host.bindings import bindings
from openimds.linux.host.bound_file import fleet_digest
from openimds.server.hosts import local_files
from openimds.server.hosts.local_files import (
    FOLLOW_NAME,
    VMS_NAME,
    FollowState,
    LocalFiles,
    LocalVms,
    read_report,
)
from openimds.vm.fleet_file import parse_vm
from openimds.vm.types import Vm


def vm(name: str, number: int = 4, **members: Any) -> Vm:
    reach = {"interface": f"tap-{number}", "address": [f"10.0.0.{number}"]}
    return parse_vm(name, {"reach": {**reach, "mac": "02:00:00:00:00:0a"}, **members})


class FollowerDouble:
    """A host that follows control, as its files show it."""

    def __init__(self) -> None:
        self.state = FollowState(
            control="c:1", store="s", epoch=5, revision=7, connections=1, reason=""
        )
        self.local_vms = LocalVms()
        self.caught_up = asyncio.Event()
        self.vm_count = 2
        self.unbound: list[dict[str, str]] = []

    def note_bound(self) -> None:
        self.unbound.append(self.local_vms.unbound())

    def silent_s(self) -> float:
        return 1.5


class LeavesDouble:
    """The leaves of a host."""

    failure = ""

    def ends_s(self) -> float | None:
        return 400.0


class World:
    """The files of a double in a folder, at a time that the test sets."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.now_s = folder, 100.0
        self.messages: list[str] = []
        self.follower, self.leaves = FollowerDouble(), LeavesDouble()
        self.files = LocalFiles(
            folder,
            "host-1",
            self.follower,
            self.leaves,
            lambda: 500.0,
            lambda: self.now_s,
            self.messages.append,
        )

    def write(self) -> None:
        asyncio.run(self.files.write())

    def standing(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads((self.folder / FOLLOW_NAME).read_bytes())
        return found


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def test_written_vms_are_a_fleet_file_with_the_same_bindings(world: World) -> None:
    vms = [vm("a"), vm("b", 5, kind="azure-local")]
    world.follower.local_vms.put([*vms, parse_vm("without", {})])
    world.follower.caught_up.set()
    world.write()
    read = read_fleet(str(world.folder / VMS_NAME)).vms
    assert bindings(read) == bindings(vms)
    assert (world.folder / VMS_NAME).stat().st_mode & 0o077 == 0


def test_vms_that_cannot_be_bound_are_left_out() -> None:
    local = LocalVms()
    spoilt = vm("a")
    local.put([parse_vm("b", {"reach": {"interface": "tap-b", "address": []}})])
    local.put([parse_vm("c d", {"reach": {"interface": "tap-c"}}, is_stored=True)])
    assert (json.loads(local.to_bytes()), local.changes) == ({"vms": {}}, 0)
    local.put([spoilt])
    local.put([spoilt])
    assert local.changes == 1
    local.put([parse_vm("a", {})])
    assert (json.loads(local.to_bytes()), local.changes) == ({"vms": {}}, 2)


def test_vms_that_leave_are_counted_once() -> None:
    local = LocalVms()
    local.put([vm("a"), vm("b", 5)])
    local.leave({"a", "unknown"})
    assert (list(json.loads(local.to_bytes())["vms"]), local.changes) == (["b"], 3)


def test_vms_are_not_written_before_they_are_known(world: World) -> None:
    world.write()
    assert not (world.folder / VMS_NAME).exists()
    assert world.standing()["control"] == "c:1"


def test_file_of_vms_is_written_only_after_a_change(world: World) -> None:
    world.follower.caught_up.set()
    world.write()
    (world.folder / VMS_NAME).unlink()
    world.write()
    assert not (world.folder / VMS_NAME).exists()
    world.follower.local_vms.put([vm("a")])
    world.write()
    assert (world.folder / VMS_NAME).exists()


def test_standing_names_what_the_host_follows(world: World) -> None:
    names = [f"vm-{number:03}" for number in range(local_files.MOST_REFUSED + 1)]
    world.follower.state.refused = dict.fromkeys(names, "a reason")
    world.write()
    standing = world.standing()
    assert list(standing.pop("refused")) == names[:-1]
    assert standing == {
        "name": "host-1",
        "control": "c:1",
        "reason": "",
        "store": "s",
        "epoch": 5,
        "revision": 7,
        "vms": 2,
        "certificateEndsS": 500.0,
        "lastMessageS": 98.5,
        "writtenS": 100.0,
        "leavesEndS": 400.0,
        "leafFailure": "",
    }


def test_written_standing_is_the_state_of_the_next_start(world: World) -> None:
    assert read_report(world.folder) is None
    world.write()
    report = read_report(world.folder)
    assert report
    assert report.state() == FollowState(store="s", epoch=5)
    earlier = world.standing()
    del earlier["epoch"]
    (world.folder / FOLLOW_NAME).write_text(json.dumps(earlier))
    report = read_report(world.folder)
    assert report
    assert report.state() == FollowState(store="s")


def test_standing_before_the_first_message_has_no_time_of_it(world: World) -> None:
    world.follower.state.connections = 0
    world.write()
    assert world.standing()["lastMessageS"] is None


def test_standing_is_written_after_a_change_or_some_seconds(world: World) -> None:
    world.write()
    world.now_s += local_files.WRITE_S
    world.write()
    assert world.standing()["writtenS"] == 100.0
    world.follower.state.revision = 8
    world.write()
    assert world.standing()["writtenS"] == 101.0
    world.now_s += local_files.REFRESH_S
    world.write()
    assert world.standing()["writtenS"] == 106.0


def test_files_that_cannot_be_written_are_reported_once(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(private_files, "write", fail)
        world.write()
        world.write()
    assert len(world.messages) == 1
    assert "no space left on device" in world.messages[0]
    world.write()
    assert world.standing()["name"] == "host-1"


def test_files_are_written_again_and_again(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(local_files, "WRITE_S", 0)
    monkeypatch.setattr(local_files, "REFRESH_S", 0)
    saved: list[str] = []

    async def play() -> None:
        done = asyncio.Event()

        def save(path: Path, _: bytes) -> None:
            saved.append(path.name)
            if len(saved) > 1:
                loop.call_soon_threadsafe(done.set)

        loop = asyncio.get_running_loop()
        monkeypatch.setattr(private_files, "write", save)
        task = asyncio.create_task(world.files.run())
        await asyncio.wait_for(done.wait(), 10)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    asyncio.run(play())
    assert saved[:2] == [FOLLOW_NAME] * 2


def test_vm_waits_for_rules_that_follow_the_file(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    bound: list[str | None] = [None]
    monkeypatch.setattr(local_files, "bound_digest", lambda _: bound[0])
    follower, path = world.follower, world.folder / VMS_NAME
    follower.caught_up.set()

    def unbound() -> set[str]:
        world.write()
        return {*follower.unbound[-1]}

    follower.local_vms.put([vm("a")])
    assert unbound() == set()  # Without rules that follow, nobody waits.
    bound[0] = "another state"
    assert unbound() == {"a"}
    bound[0] = fleet_digest(path.read_bytes())
    assert unbound() == set()
    follower.local_vms.put([vm("a"), vm("b", 5), vm("c", 6)])
    assert {*follower.local_vms.unbound()} == unbound() == {"b", "c"}
    follower.local_vms.leave({"c"})
    assert unbound() == {"b"}
    bound[0] = fleet_digest(path.read_bytes())
    follower.local_vms.put([vm("a", 7)])
    assert unbound() == {"a", "b"}  # The file has changed once more.
    bound[0] = fleet_digest(path.read_bytes())
    assert unbound() == set()


def test_internal_error_ends_no_writing(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patched:
        patched.setattr(world.follower, "silent_s", lambda: 1 / 0)
        world.write()
        world.write()
    (message,) = world.messages
    assert "(internal error: ZeroDivisionError" in message
    world.write()
    assert world.standing()["name"] == "host-1"
