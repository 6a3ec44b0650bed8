"""Edits of the fleet file, applied to a running server."""

import asyncio
import errno
import os
from collections.abc import Awaitable, Callable
from pathlib import Path
from threading import Event

import pytest

from openimds.errors import ConfigError
from openimds.fleet.fleet_files import FleetFileContents, fingerprint, read_fleet
from openimds.fleet.store.port import Change, StoreError
from openimds.server.fleet_file_watcher import (
    COARSE_S,
    CONTENT_S,
    LOOK_S,
    RETRY_S,
    SETTLE_LOOKS,
    SETTLE_S,
    FleetFileWatcher,
    Glance,
    glance,
)

CHANGE = Change(1, "2026-11-22T19:54:46.000Z", "file fleet.yaml", "b", None, b"{}", "file")
LATER_S = 4e9
"""A time at which every stamp of a test's files is old."""
RETRY_LOOKS = int(RETRY_S / LOOK_S)
CONTENT_LOOKS = int(CONTENT_S / LOOK_S)
Step = Callable[[], object]


def nothing() -> None:
    """Leave the files as they are until the next look."""


class Stage:
    """A watcher of a fleet file, with the edits that it applied and its messages.

    `steps` happen one after another, one before each look but the first.
    """

    def __init__(self, folder: Path, fleet: Path | None = None) -> None:
        self.steps: list[Step] = []
        self.pauses: list[float] = []
        self.file = folder / "fleet.yaml"
        if fleet is None:
            self.file.write_text("vms: {a: {}}")
        self.applied: list[tuple[list[str], str]] = []
        self.messages: list[str] = []
        self.error: Exception | None = None
        self.utc_s = LATER_S
        self.looks = self.reads = 0
        path = str(fleet or self.file)
        self.watcher = FleetFileWatcher(
            path,
            fingerprint(path),
            self._apply,
            self.messages.append,
            look=self._look,
            sleep=self._sleep,
            utc=lambda: self.utc_s,
        )

    @property
    def names(self) -> list[list[str]]:
        """The names of the VMs of each applied edit."""
        return [names for names, _ in self.applied]

    async def _apply(self, contents: FleetFileContents, author: str) -> list[Change]:
        if self.error:
            raise self.error
        self.applied.append(([vm.name for vm in contents.vms], author))
        return [CHANGE]

    def _look(self, path: str) -> Glance:
        self.looks += 1
        return glance(path)

    async def _sleep(self, pause_s: float) -> None:
        self.pauses.append(pause_s)
        if pause_s == SETTLE_S:
            return
        if not self.steps:
            raise asyncio.CancelledError
        self.steps.pop(0)()

    async def follow(self, *steps: Step) -> None:
        """Look, and once more after each step."""
        self.steps = [*steps]
        with pytest.raises(asyncio.CancelledError):
            await self.watcher.follow()


def play(folder: Path, work: Callable[[Stage], Awaitable[None]], fleet: Path | None = None) -> None:
    async def run() -> None:
        await work(Stage(folder, fleet))

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


def test_edit_with_old_names_is_applied_with_a_warning(tmp_path: Path) -> None:
    async def work(stage: Stage) -> None:
        stage.file.write_text("vms: {b: {}}\nfaults: [{effect: hang, until_s: 5}]")
        await stage.watcher.apply_edits()
        assert len(stage.applied) == 1
        assert stage.messages[1:] == [
            f"{stage.file}: old names, which 1.0 no longer reads: faults[0].until_s (now untilS)"
        ]

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
        def mend() -> None:
            stage.error = None

        stage.file.write_text("vms: {b: {}}")
        stage.error = error
        await stage.follow(*[nothing] * RETRY_LOOKS, mend)
        assert stage.applied == []
        await stage.follow(*[nothing] * RETRY_LOOKS)
        assert stage.applied == [(["b"], "file fleet.yaml")]
        failure, success = stage.messages
        assert failure == (
            f"fleet file not applied: {error}; the previous fleet is still served, and the edit is "
            "tried again every 5 s"
        )
        assert success.endswith(": 1 changes applied")

    play(tmp_path, work)


def test_edit_is_tried_again_after_some_seconds_only(tmp_path: Path) -> None:
    async def work(stage: Stage) -> None:
        def mend() -> None:
            stage.error = None

        stage.file.write_text("vms: {b: {}}")
        stage.error = StoreError("disk full")
        await stage.follow(mend, *[nothing] * (RETRY_LOOKS - 2))
        assert stage.applied == []
        await stage.follow(nothing)
        assert len(stage.applied) == 1

    play(tmp_path, work)


def test_mistake_in_the_file_waits_for_the_next_edit(tmp_path: Path) -> None:
    async def work(stage: Stage) -> None:
        def write() -> None:
            stage.file.write_text("vms: {b: {computer: {}}}")

        await stage.follow(write, *[nothing] * 200, write, nothing)
        assert len(stage.messages) == 2, "one for each edit"
        assert "tried again" not in stage.messages[0]

    play(tmp_path, work)


def replaced_by_rename(folder: Path) -> None:
    new = folder / ".fleet.yaml.new"
    new.write_text("vms: {b: {}}")
    new.replace(folder / "fleet.yaml")


def renamed_to_a_backup_and_written(folder: Path) -> None:
    (folder / "fleet.yaml").replace(folder / "fleet.yaml~")
    (folder / "fleet.yaml").write_text("vms: {b: {}}")


def written_in_place(folder: Path) -> None:
    (folder / "fleet.yaml").write_text("vms: {b: {}}")


def moved_from_another_folder_with_its_old_times(folder: Path) -> None:
    other = folder.parent / "other.yaml"
    other.write_text("vms: {b: {}}")
    before = (folder / "fleet.yaml").stat()
    os.utime(other, ns=(before.st_atime_ns, before.st_mtime_ns))
    other.replace(folder / "fleet.yaml")


def re_pointed(folder: Path) -> None:
    (folder / "other.yaml").write_text("vms: {b: {}}")
    (folder / "new").symlink_to("other.yaml")
    (folder / "new").replace(folder / "fleet.yaml")


def folder_replaced(folder: Path) -> None:
    folder.rename(folder.with_name("before"))
    folder.mkdir()
    (folder / "fleet.yaml").write_text("vms: {b: {}}")


@pytest.mark.parametrize(
    "edit",
    [
        replaced_by_rename,
        renamed_to_a_backup_and_written,
        written_in_place,
        moved_from_another_folder_with_its_old_times,
        re_pointed,
        folder_replaced,
    ],
)
def test_every_way_to_replace_a_file_is_seen(tmp_path: Path, edit: Callable[[Path], None]) -> None:
    folder = tmp_path / "fleets"
    folder.mkdir()

    async def work(stage: Stage) -> None:
        await stage.follow(nothing, lambda: edit(folder), nothing)
        assert stage.names == [["b"]]

    play(folder, work)


@pytest.mark.parametrize("name", ["fleet.yaml", "."])
def test_folder_that_is_made_again_is_seen(tmp_path: Path, name: str) -> None:
    folder = tmp_path / "fleets"
    folder.mkdir()
    file = folder / "fleet.yaml"
    file.write_text("vms: {a: {}}")

    def remove() -> None:
        file.unlink()
        folder.rmdir()

    def make() -> None:
        folder.mkdir()
        file.write_text("vms: {b: {}}")

    async def work(stage: Stage) -> None:
        await stage.follow(nothing, remove, nothing, nothing, make, nothing)
        assert stage.names == [["b"]]
        failure, applied = stage.messages
        assert failure.endswith("; the previous fleet is still served")
        assert "no such file or directory" in failure
        assert applied.endswith(": 1 changes applied")

    play(tmp_path, work, folder / name)


def linked(folder: Path) -> tuple[Path, Path]:
    """Make a link in one folder to a file in another; return both."""
    (folder / "here").mkdir()
    (folder / "there").mkdir()
    target = folder / "there" / "target.yaml"
    target.write_text("vms: {a: {}}")
    link = folder / "here" / "fleet.yaml"
    link.symlink_to("../there/target.yaml")
    return link, target


def test_edited_target_of_a_link_is_seen(tmp_path: Path) -> None:
    link, target = linked(tmp_path)

    async def work(stage: Stage) -> None:
        await stage.follow(nothing, lambda: target.write_text("vms: {b: {}}"), nothing)
        assert stage.names == [["b"]]

    play(tmp_path, work, link)


def test_renamed_target_of_a_link_is_seen(tmp_path: Path) -> None:
    link, target = linked(tmp_path)
    other = target.with_name("new")
    other.write_text("vms: {b: {}}")

    async def work(stage: Stage) -> None:
        await stage.follow(nothing, lambda: other.replace(target), nothing)
        assert stage.names == [["b"]]

    play(tmp_path, work, link)


class Volume:
    """A volume of Kubernetes: names link to `..data`, which links to the data."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "volume"
        self.folder.mkdir()
        self._put("..1", "vms: {a: {}}")
        (self.folder / "..data").symlink_to("..1")
        (self.folder / "fleet.yaml").symlink_to("..data/fleet.yaml")

    def _put(self, name: str, text: str) -> None:
        (self.folder / name).mkdir()
        (self.folder / name / "fleet.yaml").write_text(text)

    def swap(self) -> None:
        """Swap the data as the kubelet does, and remove the old data."""
        self._put("..2", "vms: {b: {}}")
        (self.folder / "..data_tmp").symlink_to("..2")
        (self.folder / "..data_tmp").replace(self.folder / "..data")
        (self.folder / "..1" / "fleet.yaml").unlink()
        (self.folder / "..1").rmdir()


@pytest.mark.parametrize("name", ["volume/fleet.yaml", "volume", "volume/..data", "etc/fleet.yaml"])
def test_swap_of_a_kubernetes_volume_is_seen(tmp_path: Path, name: str) -> None:
    volume = Volume(tmp_path)
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc" / "fleet.yaml").symlink_to(volume.folder / "fleet.yaml")

    async def work(stage: Stage) -> None:
        await stage.follow(nothing, volume.swap, nothing)
        assert stage.names == [["b"]]
        assert len(stage.messages) == 1

    play(tmp_path, work, tmp_path / name)


@pytest.mark.parametrize(
    "change, is_seen",
    [("new.json", True), ("new.yml", True), (".new.yaml.swp", False), ("notes.txt", False)],
)
def test_folder_is_looked_at_for_fleet_files(change: str, is_seen: bool, tmp_path: Path) -> None:
    (tmp_path / "one.yaml").write_text("vms: {a: {}}")

    async def work(stage: Stage) -> None:
        def write() -> None:
            (tmp_path / change).write_text('{"vms": {"b": {}}}')

        await stage.follow(nothing, write, nothing)
        assert bool(stage.names) is is_seen

    play(tmp_path, work, tmp_path)


def test_file_that_is_being_written_is_read_when_complete(tmp_path: Path) -> None:
    async def work(stage: Stage) -> None:
        parts = iter(["vms: {b: {}}", "vms: {b: {}, c: {}}"])

        async def sleep(pause_s: float) -> None:
            if pause_s == SETTLE_S and (part := next(parts, "")):
                stage.file.write_text(part)
            if pause_s == LOOK_S and next(is_last):
                raise asyncio.CancelledError

        is_last = iter([False, True])
        stage.watcher._sleep = sleep
        stage.file.write_text("vms:")
        with pytest.raises(asyncio.CancelledError):
            await stage.watcher.follow()
        assert stage.names == [["b", "c"]]
        assert len(stage.messages) == 1

    play(tmp_path, work)


def test_file_that_is_always_being_written_is_read(tmp_path: Path) -> None:
    async def work(stage: Stage) -> None:
        async def sleep(pause_s: float) -> None:
            stage.pauses.append(pause_s)
            if pause_s == LOOK_S:
                raise asyncio.CancelledError
            stage.file.write_text(f"vms: {{b{len(stage.pauses)}: {{}}}}")

        stage.watcher._sleep = sleep
        with pytest.raises(asyncio.CancelledError):
            await stage.watcher.follow()
        assert stage.pauses == [*[SETTLE_S] * SETTLE_LOOKS, LOOK_S]
        assert stage.names == [[f"b{SETTLE_LOOKS}"]]

    play(tmp_path, work)


def test_edit_with_the_same_stamp_is_seen(tmp_path: Path) -> None:
    async def work(stage: Stage) -> None:
        def edit() -> None:
            stage.file.write_text("vms: {b: {}}")

        same = glance(str(stage.file))
        stage.watcher._look = lambda _: same
        stage.utc_s = stage.file.stat().st_mtime + COARSE_S
        await stage.follow(nothing, edit)
        assert stage.names == [["b"]]

    play(tmp_path, work)


def test_edit_without_a_trace_is_seen_after_a_while(tmp_path: Path) -> None:
    async def work(stage: Stage) -> None:
        def edit() -> None:
            stage.file.write_text("vms: {b: {}}")

        same = glance(str(stage.file))
        stage.watcher._look = lambda _: same
        await stage.follow(edit, *[nothing] * (CONTENT_LOOKS - 2))
        assert stage.names == []
        await stage.follow(nothing)
        assert stage.names == [["b"]]

    play(tmp_path, work)


def test_file_that_looks_unchanged_is_not_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def work(stage: Stage) -> None:
        reads: list[str] = []
        module = "openimds.server.fleet_file_watcher"

        def read(path: str) -> bytes:
            reads.append(path)
            return b""

        monkeypatch.setattr(f"{module}.fingerprint", read)
        monkeypatch.setattr(stage.watcher, "_seen", b"")
        await stage.follow(*[nothing] * (CONTENT_LOOKS - 1))
        assert len(reads) == 1
        assert stage.looks == CONTENT_LOOKS + 1

    play(tmp_path, work)


def test_edit_while_descriptors_are_short_is_seen(tmp_path: Path) -> None:
    async def work(stage: Stage) -> None:
        def lack(_: str) -> Glance:
            raise OSError(errno.EMFILE, "Too many open files")

        def edit() -> None:
            stage.file.write_text("vms: {b: {}}")
            stage.watcher._look = lack

        def give() -> None:
            stage.watcher._look = glance

        await stage.follow(nothing, edit, nothing, give, nothing)
        assert stage.names == [["b"]]
        assert len(stage.messages) == 1

    play(tmp_path, work)


def test_folder_is_not_read_as_empty_without_descriptors(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def lack(_: str) -> list[str]:
        raise OSError(errno.ENFILE, "Too many open files in system")

    monkeypatch.setattr(os, "listdir", lack)
    with pytest.raises(OSError, match="Too many open files in system"):
        glance(str(tmp_path))


def test_internal_error_of_a_look_is_raised(tmp_path: Path) -> None:
    async def work(stage: Stage) -> None:
        def fail(_: str) -> Glance:
            raise RuntimeError("a mistake in the program")

        stage.watcher._look = fail
        with pytest.raises(RuntimeError, match="a mistake in the program"):
            await stage.watcher.follow()

    play(tmp_path, work)


def test_large_file_is_applied_by_its_edited_entries(tmp_path: Path) -> None:
    file = tmp_path / "fleet.yaml"

    def write(size: str) -> None:
        entries = [f"  vm-{number}: {{}}\n" for number in range(1000)]
        file.write_text("".join(["vms:\n", *entries, f"  last: {{compute: {{vmSize: {size}}}}}\n"]))

    async def work(stage: Stage) -> None:
        stage.watcher._entries = read_fleet(str(file)).entries
        stage.error = StoreError("disk full")
        write("Two")
        await stage.watcher.apply_edits()
        stage.error = None
        # What was not applied is still an edit.
        await stage.watcher.apply_edits()
        write("Three")
        await stage.watcher.apply_edits()
        assert stage.names == [["last"], ["last"]]

    write("One")
    play(tmp_path, work, file)


def test_file_system_that_hangs_is_reported(tmp_path: Path) -> None:
    async def run() -> None:
        is_alive, messages = Event(), asyncio.Queue[str]()

        def hang(_: str) -> Glance:
            is_alive.wait()
            return ()

        async def apply(_: FleetFileContents, author: str) -> list[Change]:
            raise AssertionError(author)

        path = str(tmp_path / "fleet.yaml")
        watcher = FleetFileWatcher(path, b"", apply, messages.put_nowait, look=hang, silent_s=0.0)
        watching = asyncio.create_task(watcher.follow())
        assert await messages.get() == (
            f"{path}: not read after 0 s, as if its file system hangs; the previous fleet is still "
            "served"
        )
        watching.cancel()
        await asyncio.wait([watching])
        assert watching.cancelled()
        is_alive.set()

    asyncio.run(run())


def test_bad_edit_is_recorded_until_it_is_mended(tmp_path: Path) -> None:
    async def work(stage: Stage) -> None:
        record = stage.watcher.record
        assert record.is_served
        stage.utc_s += 1
        stage.file.write_text("vms: {a: {compute: 5}}")
        await stage.watcher.apply_edits()
        stage.utc_s += 1
        await stage.watcher.apply_edits(is_retry=True)
        assert (record.is_served, record.refused_s) == (False, LATER_S + 1)
        stage.file.write_text("vms: {b: {}}")
        await stage.watcher.apply_edits()
        assert (record.is_served, record.served_s) == (True, LATER_S + 2)
        assert record.outcomes == {"applied": 1, "refused": 1}

    play(tmp_path, work)


def test_reload_of_the_same_bad_edit_is_no_new_refusal(tmp_path: Path) -> None:
    async def work(stage: Stage) -> None:
        stage.file.write_text("vms: [")
        for _ in range(2):
            await stage.watcher.apply_edits()
        assert stage.watcher.record.outcomes["refused"] == 1
        stage.file.write_text("vms: [[")
        await stage.watcher.apply_edits(is_retry=True)  # As of a file whose look stays the same.
        assert stage.watcher.record.outcomes["refused"] == 2

    play(tmp_path, work)


def test_file_that_was_never_applied_has_no_time_of_success() -> None:
    async def apply(*_: object) -> list[Change]:
        return []

    async def run() -> None:
        watcher = FleetFileWatcher("absent.yaml", b"", apply, print)
        name = "openimds_fleet_file_last_reload_success"
        samples = watcher.record.samples()
        assert samples[f"{name}ful"] == 0
        assert samples[f"{name}_timestamp_seconds"] == 0

    asyncio.run(run())


def test_bad_edit_that_is_taken_back_is_served_again(tmp_path: Path) -> None:
    async def work(stage: Stage) -> None:
        before = stage.file.read_text()
        stage.file.write_text("vms: [")
        await stage.watcher.apply_edits()
        served = [stage.watcher.record.is_served]
        stage.file.write_text(before)
        await stage.watcher.apply_edits()
        served.append(stage.watcher.record.is_served)
        assert served == [False, True]
        assert stage.watcher.record.outcomes == {"applied": 0, "refused": 1}

    play(tmp_path, work)


def test_failing_retries_count_one_edit(tmp_path: Path) -> None:
    async def work(stage: Stage) -> None:
        stage.error = StoreError("the disk is full")
        stage.file.write_text("vms: {b: {}}")
        await stage.watcher.apply_edits()
        stage.utc_s += 5
        await stage.watcher.apply_edits(is_retry=True)
        record = stage.watcher.record
        assert record.samples() == {
            "openimds_fleet_file_last_reload_successful": 0,
            "openimds_fleet_file_last_reload_success_timestamp_seconds": LATER_S,
            "openimds_fleet_file_last_reload_failure_timestamp_seconds": LATER_S + 5,
            "openimds_fleet_file_reloads": {"applied": 0, "refused": 1},
        }

    play(tmp_path, work)
