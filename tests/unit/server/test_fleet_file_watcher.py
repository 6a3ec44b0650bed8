"""Edits of a fleet file, applied to a running server."""

import asyncio
import errno
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest

from openimds.errors import ConfigError
from openimds.fleet.fleet_files import FleetFileContents, fingerprint
from openimds.fleet.store.port import Change, StoreError
from openimds.server.fleet_file_watcher import (
    RETRY_TICKS,
    RETRY_WATCH_S,
    FleetFileWatcher,
    WatchedPath,
)

CHANGE = Change(1, "2026-11-22T19:54:46.000Z", "file fleet.yaml", "b", None, b"{}", "file")


class Stage:
    """A watcher of a fleet file, with the edits that it applied and its messages."""

    def __init__(self, folder: Path) -> None:
        self.watches: list[list[object]] = []
        self.pauses: list[float] = []
        self.file = folder / "fleet.yaml"
        self.file.write_text("vms: {a: {}}")
        self.applied: list[tuple[list[str], str]] = []
        self.messages: list[str] = []
        self.error: Exception | None = None
        self.watcher = FleetFileWatcher(
            str(self.file),
            fingerprint(str(self.file)),
            self._apply,
            self.messages.append,
            self._watch,
            self._sleep,
        )

    async def _apply(self, contents: FleetFileContents, author: str) -> list[Change]:
        if self.error:
            raise self.error
        self.applied.append(([vm.name for vm in contents.vms], author))
        return [CHANGE]

    async def _watch(self, _: WatchedPath) -> AsyncIterator[object]:
        """Yield the edits of the next watch, calling those that change the stage."""
        for edits in self.watches.pop(0):
            if isinstance(edits, Exception):
                raise edits
            yield edits() if callable(edits) else edits

    async def _sleep(self, pause_s: float) -> None:
        self.pauses.append(pause_s)


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


def lack_of_descriptors() -> ConfigError:
    """Return the error of a file that could not be opened for want of descriptors."""
    error = ConfigError("fleet.yaml", "too many open files", "a file that can be read")
    error.__context__ = OSError(errno.EMFILE, "Too many open files")
    return error


@pytest.mark.parametrize(
    "error",
    [
        lack_of_descriptors(),
        StoreError("disk full"),
        OSError(errno.EMFILE, "Too many open files"),
        ImportError("libyaml.so: Too many open files"),
        RuntimeError("can't start new thread"),
    ],
)
def test_edit_that_fails_for_a_while_is_tried_again(tmp_path: Path, error: Exception) -> None:
    async def work(stage: Stage) -> None:
        def mend() -> set[str]:
            stage.error = None
            return set()

        stage.file.write_text("vms: {b: {}}")
        stage.error = error
        none: set[str] = set()
        stage.watches = [[{"an edit"}, *[none] * (2 * RETRY_TICKS - 1), mend, *[none] * 9]]
        await stage.watcher.follow()
        assert stage.applied == [(["b"], "file fleet.yaml")]
        failure, success = stage.messages
        assert failure == (
            f"fleet file not applied: {error}; the previous fleet is still served, and the edit is "
            f"tried again every {RETRY_TICKS} s"
        )
        assert success.endswith(": 1 changes applied")

    play(tmp_path, work)


def test_edit_is_tried_again_after_some_seconds_only(tmp_path: Path) -> None:
    async def work(stage: Stage) -> None:
        def mend() -> set[str]:
            stage.error = None
            return set()

        stage.file.write_text("vms: {b: {}}")
        stage.error = StoreError("disk full")
        stage.watches = [[{"an edit"}, mend, *[set[str]()] * (RETRY_TICKS - 2)]]
        await stage.watcher.follow()
        assert stage.applied == []
        stage.watches = [[set[str]()]]
        await stage.watcher.follow()
        assert len(stage.applied) == 1

    play(tmp_path, work)


def test_mistake_in_the_file_waits_for_the_next_edit(tmp_path: Path) -> None:
    async def work(stage: Stage) -> None:
        stage.file.write_text("vms: {b: {computer: {}}}")
        stage.watches = [[{"an edit"}, *[set[str]()] * 20, {"the same mistake"}]]
        await stage.watcher.follow()
        assert len(stage.messages) == 2, "one for each edit"
        assert "tried again" not in stage.messages[0]

    play(tmp_path, work)


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.EMFILE, "Too many open files"),
        RuntimeError("no inotify"),
        ImportError("no library"),
    ],
)
def test_folder_that_cannot_be_watched_is_read_meanwhile(tmp_path: Path, error: Exception) -> None:
    async def work(stage: Stage) -> None:
        def edit() -> set[str]:
            stage.file.write_text("vms: {b: {}}")
            raise error

        stage.watches = [[error], [edit], [error], [{"an edit"}]]
        await stage.watcher.follow()
        failure, applied = stage.messages
        assert failure == (
            f"{stage.file}: cannot be watched ({error}); until it can be, it is read every 5 s"
        )
        assert applied.endswith(": 1 changes applied")
        assert stage.pauses == [RETRY_WATCH_S] * 3

    play(tmp_path, work)


def test_missing_file_that_is_not_watched_is_reported_once(tmp_path: Path) -> None:
    async def work(stage: Stage) -> None:
        stage.file.unlink()
        gone = RuntimeError("gone")
        stage.watches = [[gone], [gone], [gone], []]
        await stage.watcher.follow()
        assert len(stage.messages) == 2
        assert "cannot be watched (gone)" in stage.messages[0]
        assert "no such file or directory" in stage.messages[1]

    play(tmp_path, work)


def test_missing_folder_is_reported_and_watched_again(tmp_path: Path) -> None:
    async def work(stage: Stage) -> None:
        stage.file.unlink()
        stage.file.parent.rmdir()

        async def stop(_: float) -> None:
            raise asyncio.CancelledError

        watcher = FleetFileWatcher(
            str(stage.file), b"", stage._apply, stage.messages.append, sleep=stop
        )
        with pytest.raises(asyncio.CancelledError):
            await watcher.follow()
        assert stage.messages[0].startswith(f"{stage.file}: cannot be watched (")

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


def test_cancelled_watch_ends_without_a_message(tmp_path: Path) -> None:
    async def work(stage: Stage) -> None:
        has_message = asyncio.Event()

        def notify(message: str) -> None:
            stage.messages.append(message)
            has_message.set()

        async def end(_: float) -> None:
            raise asyncio.CancelledError

        path = str(stage.file)
        watcher = FleetFileWatcher(path, fingerprint(path), stage._apply, notify, sleep=end)
        stage.file.write_text("vms: {b: {}}")
        watching = asyncio.create_task(watcher.follow())
        await has_message.wait()
        for _ in range(2000):  # The watch goes on in its thread.
            await asyncio.sleep(0)
        watching.cancel()
        await asyncio.wait([watching])
        assert watching.cancelled()
        assert stage.messages == [f"{stage.file}: 1 changes applied"]

    play(tmp_path, work)
