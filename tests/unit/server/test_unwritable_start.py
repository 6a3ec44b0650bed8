"""A start whose store takes no change serves what the store has."""

import asyncio
import errno
import os
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from openimds.fleet.store import kept, sqlite
from openimds.fleet.store.kept import KeptStore
from openimds.fleet.store.marker import StoreMarker
from openimds.fleet.store.port import StoreError
from openimds.fleet.store.state import State
from openimds.server import control
from openimds.server.build import build
from openimds.server.fleet_file_watcher import RETRY_S
from openimds.server.server import Server
from openimds.server.startup import Startup, load
from openimds.settings import Settings
from openimds.vm.fleet_file import parse_vm
from tests.support.waiting import until

FULL = "fleet.db: database or disk is full"


def started(
    folder: Path, fleet: str, look: Callable[[Server], Awaitable[None]], admin: str = "none"
) -> list[str]:
    """Look at a running server whose fleet file has this text; return its messages."""
    messages: list[str] = []
    file = folder / "fleet.json"
    file.write_text(fleet)
    settings = Settings(
        fleet=str(file),
        listen="127.0.0.1:0",
        admin=admin,
        public="none",
        state=str(folder / "state"),
    )

    async def run() -> None:
        server = build(load(settings), messages.append)
        try:
            await server.start()
            await look(server)
        finally:
            await server.stop(patience_s=0)

    asyncio.run(run())
    # The trouble of the store itself is tested with fleet.store_trouble.
    return [one for one in messages if not one.startswith("the store takes ")]


@pytest.fixture
def full_disk(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    def refuse(*_: object) -> None:
        raise StoreError(FULL)

    monkeypatch.setattr(KeptStore, "_writing", refuse)
    return monkeypatch


def names(*wanted: str) -> Callable[[Server], Awaitable[None]]:
    async def look(server: Server) -> None:
        assert sorted(server.host.fleet_index.by_name) == sorted(wanted)

    return look


ONE = '{"vms": {"a": {}}}'
TWO = '{"vms": {"a": {}, "b": {"reach": {"address": ["127.0.0.7"]}}}}'


def test_edited_file_waits_until_the_store_takes_it(
    tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    assert not started(tmp_path, ONE, names("a"))
    patch: pytest.MonkeyPatch = request.getfixturevalue("full_disk")

    async def look(server: Server) -> None:
        assert sorted(server.host.fleet_index.by_name) == ["a"]
        patch.undo()
        await server.reload()
        assert sorted(server.host.fleet_index.by_name) == ["a", "b"]

    messages = started(tmp_path, TWO, look)
    assert messages[0] == (
        f"{tmp_path}/fleet.json is not applied: {FULL}. The stored fleet is served until it is"
    )
    assert messages[-1].endswith("changes applied")
    assert all(f"tried again every {RETRY_S:g} s" in message for message in messages[1:-1])


def test_untouched_file_needs_no_change(tmp_path: Path, request: pytest.FixtureRequest) -> None:
    started(tmp_path, ONE, names("a"))
    request.getfixturevalue("full_disk")
    assert not started(tmp_path, ONE, names("a"))


def test_first_file_that_an_empty_store_refuses_ends_the_start(
    tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    State(tmp_path / "state").close()
    KeptStore(tmp_path / "state" / "fleet.db", StoreMarker(tmp_path / "state" / "fleet.db")).close()
    request.getfixturevalue("full_disk")
    with pytest.raises(StoreError, match="disk is full"):
        started(tmp_path, ONE, names())


@pytest.fixture
def no_store(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """Let the disk take no store, and look at it all the time."""

    def refuse(path: Path) -> None:
        raise StoreError(FULL) from OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(control, "_STORE_S", 0.01)
    for module in (sqlite, kept):
        monkeypatch.setattr(module, "open_database", refuse)
    return monkeypatch


async def until_made(server: Server) -> None:
    store = server.control.fleet_service.store
    assert isinstance(store, KeptStore)
    await asyncio.to_thread(until, lambda: not store.is_unmade)


WITH_EVENTS = '{"vms": {"a": {}}, "events": [{"type": "Reboot", "vms": ["a"]}]}'


def test_first_start_on_a_full_disk_serves_the_file_from_memory(
    tmp_path: Path, no_store: pytest.MonkeyPatch
) -> None:
    async def look(server: Server) -> None:
        service = server.control.fleet_service
        assert sorted(server.host.fleet_index.by_name) == ["a"]
        assert service.store.problem().startswith(FULL)
        with pytest.raises(StoreError, match="disk is full"):
            await service.put(parse_vm("b", {}), "api test")
        assert sorted(server.host.fleet_index.by_name) == ["a"]
        no_store.undo()
        no_store.setattr(kept, "_PROBE_S", 0.0)
        await until_made(server)
        assert service.store.problem() == ""
        await service.put(parse_vm("b", {"reach": {"address": ["127.0.0.7"]}}), "api test")

    lacking, made = started(tmp_path, ONE, look)
    assert lacking.startswith(f"there is no store yet, and none can be made: {FULL}. The VMs of")
    assert made == f"{tmp_path / 'state' / 'fleet.db'} is made, and changes are taken"
    assert not started(tmp_path, ONE, names("a", "b"))


@pytest.mark.usefixtures("no_store")
def test_repeated_first_start_on_a_full_disk_is_a_first_one(tmp_path: Path) -> None:
    for text, wanted in ((ONE, ["a"]), (TWO, ["a", "b"])):
        assert len(started(tmp_path, text, names(*wanted))) == 1


def test_scenario_of_a_first_start_begins_with_the_store(
    tmp_path: Path, no_store: pytest.MonkeyPatch
) -> None:
    async def look(server: Server) -> None:
        assert not server.control.events_service.scenarios.scenarios
        no_store.undo()
        no_store.setattr(kept, "_PROBE_S", 0.0)
        await until_made(server)
        events = server.control.events_service
        await asyncio.to_thread(until, lambda: bool(events.scenarios.scenarios))

    started(tmp_path, WITH_EVENTS, look)


def test_new_scenario_that_a_store_refuses_ends_the_start(
    tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    started(tmp_path, ONE, names("a"))
    request.getfixturevalue("full_disk")
    with pytest.raises(StoreError, match="disk is full"):
        started(tmp_path, WITH_EVENTS, names())


@pytest.mark.usefixtures("no_store")
def test_control_without_its_file_and_store_does_not_begin(tmp_path: Path) -> None:
    file = tmp_path / "fleet.json"
    settings = Settings(
        listen="127.0.0.1:0", admin="none", public="none", state=str(tmp_path / "state")
    )

    async def run() -> None:
        startup = Startup(settings, origin="file", source=str(file))
        server = build(startup, lambda _: None)
        try:
            with pytest.raises(StoreError, match="cannot be read, and there is no store yet"):
                await server.start()
        finally:
            await server.stop(patience_s=0)

    asyncio.run(run())


def test_start_without_a_token_serves_guests_and_makes_it_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    token = tmp_path / "state" / "admin-token"

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    async def look(server: Server) -> None:
        assert sorted(server.host.fleet_index.by_name) == ["a"]
        assert not token.exists()
        await asyncio.sleep(0)  # The first look at the token begins.
        patch.undo()
        await asyncio.to_thread(until, token.exists)

    with monkeypatch.context() as patch:
        patch.setattr(os, "link", full)
        monkeypatch.setattr(control, "_TOKEN_S", 0.01)
        lacking, made = started(tmp_path, ONE, look, "127.0.0.1:0")
    assert lacking.startswith(f"admin token {token}: no space left on device; guests are served")
    assert made == f"admin token {token} is written"


@pytest.mark.skipif(os.name != "posix", reason="Windows has no read-only mounts of this kind")
def test_lock_on_a_read_only_file_system_still_excludes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    State(tmp_path).close()
    real = os.open

    def read_only(path: str | Path, flags: int, *rest: int, dir_fd: int | None = None) -> int:
        if flags & (os.O_RDWR | os.O_WRONLY):
            raise OSError(errno.EROFS, "Read-only file system")
        return real(path, flags, *rest, dir_fd=dir_fd)

    monkeypatch.setattr(os, "open", read_only)
    state = State(tmp_path)
    with pytest.raises(StoreError, match="in use by the process"):
        State(tmp_path)
    state.close()
    State(tmp_path).close()
