"""Edits of a fleet file, applied to a running server."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from openimds.errors import ConfigError
from openimds.fleet.fleet_files import FleetFileContents, fingerprint
from openimds.fleet.store.port import Change
from openimds.server.fleet_file_watcher import FleetFileWatcher, WatchedPath

CHANGE = Change(1, "2026-11-22T19:54:46.000Z", "file fleet.yaml", "b", None, b"{}", "file")


class Stage:
    """A watcher of a fleet file, with the edits that it applied and its messages."""

    def __init__(self, folder: Path) -> None:
        self.file = folder / "fleet.yaml"
        self.file.write_text("vms: {a: {}}")
        self.applied: list[tuple[list[str], str]] = []
        self.messages: list[str] = []
        self.error: ConfigError | None = None
        self.watcher = FleetFileWatcher(
            str(self.file), fingerprint(str(self.file)), self._apply, self.messages.append
        )

    async def _apply(self, contents: FleetFileContents, author: str) -> list[Change]:
        if self.error:
            raise self.error
        self.applied.append(([vm.name for vm in contents.vms], author))
        return [CHANGE]


def play(folder: Path, work: Callable[[Stage], Awaitable[None]]) -> None:
    async def run() -> None:
        await work(Stage(folder))

    asyncio.run(run())


def test_touched_file_is_not_applied(tmp_path: Path) -> None:
    async def work(stage: Stage) -> None:
        stage.file.touch()
        await stage.watcher.apply_edits()
        assert (stage.applied, stage.messages) == ([], [])

    play(tmp_path, work)


def test_edit_is_applied_once_in_the_name_of_the_file(tmp_path: Path) -> None:
    async def work(stage: Stage) -> None:
        stage.file.write_text("vms: {b: {}}")
        await stage.watcher.apply_edits()
        await stage.watcher.apply_edits()
        assert stage.applied == [(["b"], "file fleet.yaml")]
        assert stage.messages == [f"{stage.file}: 1 changes applied"]

    play(tmp_path, work)


def test_bad_edit_is_reported_and_the_fleet_stays(tmp_path: Path) -> None:
    async def work(stage: Stage) -> None:
        stage.file.write_text("vms: {b: {computer: {}}}")
        await stage.watcher.apply_edits()
        assert stage.applied == []
        (message,) = stage.messages
        assert message.startswith(f"fleet file not applied: {stage.file}: vms.b: saw unknown key")
        assert message.endswith("; the previous fleet is still served")

    play(tmp_path, work)


def test_edit_that_could_not_be_applied_is_tried_again(tmp_path: Path) -> None:
    async def work(stage: Stage) -> None:
        stage.file.write_text("vms: {b: {}}")
        stage.error = ConfigError("vms.b", "an address of a", "an address of its own")
        await stage.watcher.apply_edits()
        stage.error = None
        await stage.watcher.apply_edits()
        assert stage.applied == [(["b"], "file fleet.yaml")]
        assert len(stage.messages) == 2

    play(tmp_path, work)


def test_folder_that_cannot_be_watched_is_reported(tmp_path: Path) -> None:
    async def work(stage: Stage) -> None:
        stage.file.unlink()
        stage.file.parent.rmdir()
        await stage.watcher.follow()
        (message,) = stage.messages
        assert message.startswith(f"{stage.file}: cannot be watched (")
        assert "further edits are ignored" in message

    folder = tmp_path / "gone"
    folder.mkdir()
    play(folder, work)


@pytest.mark.parametrize(
    "changed, may_concern",
    [("fleet.yaml", True), ("other.yaml", False), ("..data", True), ("fleet.yaml.swp", False)],
)
def test_one_file_is_watched_by_its_name(changed: str, may_concern: bool, tmp_path: Path) -> None:
    watched = WatchedPath(str(tmp_path / "fleet.yaml"))
    assert watched.folder == tmp_path
    assert watched.has(None, str(tmp_path / changed)) is may_concern


@pytest.mark.parametrize("changed, may_concern", [("new.toml", True), ("notes.txt", False)])
def test_folder_is_watched_for_fleet_files(changed: str, may_concern: bool, tmp_path: Path) -> None:
    watched = WatchedPath(str(tmp_path))
    assert watched.folder == tmp_path
    assert watched.has(None, str(tmp_path / changed)) is may_concern
