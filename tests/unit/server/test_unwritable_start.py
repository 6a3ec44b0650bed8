"""A start whose store takes no change serves what the store has."""

import asyncio
import errno
import os
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from openimds.fleet.store.kept import KeptStore
from openimds.fleet.store.port import StoreError
from openimds.fleet.store.state import State
from openimds.server.build import build
from openimds.server.fleet_file_watcher import RETRY_S
from openimds.server.server import Server
from openimds.server.startup import load
from openimds.settings import Settings

FULL = "fleet.db: database or disk is full"


def started(folder: Path, fleet: str, look: Callable[[Server], Awaitable[None]]) -> list[str]:
    """Look at a running server whose fleet file has this text; return its messages."""
    messages: list[str] = []
    file = folder / "fleet.json"
    file.write_text(fleet)
    settings = Settings(
        fleet=str(file),
        listen="127.0.0.1:0",
        admin="none",
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
    return messages


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


@pytest.mark.usefixtures("full_disk")
def test_first_start_on_a_full_disk_is_refused(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="disk is full"):
        started(tmp_path, ONE, names())


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
