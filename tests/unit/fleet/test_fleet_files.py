"""Fleet files, folders of them and captured documents, read from disk."""

import errno
import gc
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from openimds.errors import ConfigError
from openimds.fleet import fleet_files
from openimds.fleet.fleet_files import (
    DEFAULT_VM,
    fingerprint,
    gc_paused,
    read_document,
    read_file,
    read_fleet,
)
from tests.unit.vm.refused import Refused, refused

ONE = "vms: {a: {}}\nevents: [{type: Reboot, vms: [a]}]\n"
TWO = '{"vms": {"b": {}}, "faults": [{"effect": "hang"}]}'


def test_fleet_file_has_vms_events_and_faults(tmp_path: Path) -> None:
    file = tmp_path / "fleet.yaml"
    file.write_text(ONE)
    contents = read_fleet(str(file))
    assert [vm.name for vm in contents.vms] == ["a"]
    assert [event.event_type for event in contents.events] == ["Reboot"]
    assert contents.faults == ()


def test_folder_of_fleet_files_is_one_fleet(tmp_path: Path) -> None:
    (tmp_path / "2.json").write_text(TWO)
    (tmp_path / "1.yaml").write_text(ONE)
    (tmp_path / ".hidden.yaml").write_text("vms: [")
    (tmp_path / "notes.txt").write_text("not a fleet")
    contents = read_fleet(str(tmp_path))
    assert [vm.name for vm in contents.vms] == ["a", "b"]
    assert [event.event_type for event in contents.events] == ["Reboot"]
    assert [fault.effect for fault in contents.faults] == ["hang"]


def test_old_names_of_every_file_are_in_the_notice(tmp_path: Path) -> None:
    (tmp_path / "1.yaml").write_text("vms: {a: {}}\nevents: [{type: Reboot, vms: [a], at_s: 5}]")
    (tmp_path / "2.yaml").write_text("vms: {b: {compute: {tags: {at_s: x}}}}")
    (tmp_path / "3.json").write_text(TWO.replace("}]", ', "until_s": 9}]').replace('"b"', '"c"'))
    old = "old names, which 1.0 no longer reads"
    assert read_fleet(str(tmp_path)).notice == (
        f"{tmp_path}/1.yaml: {old}: events[0].at_s (now atS); "
        f"{tmp_path}/3.json: {old}: faults[0].until_s (now untilS)"
    )
    assert read_fleet(str(tmp_path / "2.yaml")).notice == "", "a tag is no name of a row"


def test_vm_in_two_files_of_a_folder_is_refused(tmp_path: Path) -> None:
    for name in ("1.yaml", "2.yaml"):
        (tmp_path / name).write_text("vms: {a: {}}")
    assert refused(read_fleet, str(tmp_path)) == Refused(
        f"{tmp_path}/2.yaml: vms.a", "a VM that 1.yaml names too", "each VM in one file"
    )


def test_folder_without_fleet_files_is_refused(tmp_path: Path) -> None:
    expected = "fleet files ending in .yaml, .yml, .json, .toml"
    assert refused(read_fleet, str(tmp_path)) == Refused(
        str(tmp_path), "a folder without any", expected
    )


def test_error_in_a_fleet_file_names_the_file(tmp_path: Path) -> None:
    file = tmp_path / "fleet.yaml"
    file.write_text("vms: {a: {computer: {}}}")
    assert refused(read_fleet, str(file)).where == f"{file}: vms.a"


def test_missing_file_is_refused_with_the_reason() -> None:
    assert refused(read_file, "none.yaml") == Refused(
        "none.yaml", "no such file or directory", "a file that can be read"
    )


def test_document_is_a_vm_with_notices(tmp_path: Path) -> None:
    file = tmp_path / "captured"
    file.write_text('{"compute": {"vmSize": "S", "newThing": 1}, "network": {}}')
    document = read_document(str(file))
    assert document.vm.name == DEFAULT_VM
    assert document.notices == (
        "compute.newThing is in no api-version known here and is not served",
    )


@pytest.mark.parametrize("text, where", [(None, "captured"), ("vms: {}", "captured: top level")])
def test_error_in_a_document_names_the_file_once(
    text: str | None, where: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    if text is not None:
        Path("captured").write_text(text)
    assert refused(read_document, "captured").where == where


def test_fingerprint_changes_with_the_text_alone(tmp_path: Path) -> None:
    file = tmp_path / "fleet.yaml"
    file.write_text(ONE)
    before = fingerprint(str(file))
    file.touch()
    assert fingerprint(str(file)) == before
    file.write_text(TWO)
    assert fingerprint(str(file)) != before


@pytest.mark.parametrize("is_folder", [False, True])
def test_fingerprint_without_a_descriptor_is_refused(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, is_folder: bool
) -> None:
    file = tmp_path / "fleet.yaml"
    file.write_text(ONE)

    def fail(_: Path) -> bytes:
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    monkeypatch.setattr(fleet_files, "open_plain", fail)
    assert refused(fingerprint, str(tmp_path if is_folder else file)) == Refused(
        str(file), "too many open files", "a file that can be read"
    )


def test_fingerprint_leaves_an_unreadable_file_out(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    before = fingerprint(str(tmp_path))
    (tmp_path / "fleet.yaml").write_text(ONE)

    def fail(_: Path) -> bytes:
        raise OSError(errno.EACCES, os.strerror(errno.EACCES))

    monkeypatch.setattr(fleet_files, "open_plain", fail)
    assert fingerprint(str(tmp_path)) == before


@pytest.mark.parametrize("read", [fingerprint, read_fleet])
def test_folder_that_cannot_be_read_is_refused(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, read: Callable[[str], object]
) -> None:
    def fail(_: Path) -> object:
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    monkeypatch.setattr(Path, "iterdir", fail)
    assert refused(read, str(tmp_path)) == Refused(
        str(tmp_path), "too many open files", "a folder that can be read"
    )


def test_fingerprint_of_a_folder_changes_with_a_name(tmp_path: Path) -> None:
    file = tmp_path / "1.yaml"
    file.write_text(ONE)
    before = fingerprint(str(tmp_path))
    file.rename(tmp_path / "2.yaml")
    assert fingerprint(str(tmp_path)) != before


def test_collector_runs_again_after_a_pause() -> None:
    seen: list[bool] = []

    def fail() -> None:
        with gc_paused():
            seen.append(gc.isenabled())
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    assert [*seen, gc.isenabled()] == [False, True]


def test_collector_that_was_off_stays_off() -> None:
    with gc_paused():
        with gc_paused():
            pass
        assert not gc.isenabled()
    assert gc.isenabled()


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no named pipes")
@pytest.mark.parametrize("read", [read_file, read_fleet, read_document])
def test_pipe_is_refused_without_waiting_for_a_writer(
    tmp_path: Path, read: Callable[[str], object]
) -> None:
    os.mkfifo(tmp_path / "fleet.yaml")
    path = str(tmp_path / "fleet.yaml")
    assert refused(read, path) == Refused(
        path, "a pipe, a device or a folder", "a file that can be read"
    )
    assert fingerprint(path) == fingerprint(str(tmp_path / "none"))


@pytest.mark.skipif(os.name != "posix", reason="this system has no such device")
def test_device_is_refused_without_being_read() -> None:
    assert refused(read_fleet, "/dev/zero") == Refused(
        "/dev/zero", "a pipe, a device or a folder", "a file that can be read"
    )


def test_file_beyond_the_size_limit_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "fleet.yaml"
    path.write_text(ONE)
    monkeypatch.setattr(fleet_files, "MOST_BYTES", len(ONE))
    read_fleet(str(path))
    monkeypatch.setattr(fleet_files, "MOST_BYTES", len(ONE) - 1)
    assert refused(read_fleet, str(path)).seen == "more than 0 mib"


def write_large(file: Path, **sizes: str) -> None:
    """Write 1,000 VMs with some sizes; an empty size leaves the VM out."""
    by_name = {f"vm-{number}": "One" for number in range(1000)} | {
        name.replace("_", "-"): size for name, size in sizes.items()
    }
    lines = [f"  {name}: {{compute: {{vmSize: {size}}}}}" for name, size in by_name.items() if size]
    file.write_text("\n".join(["vms:", *lines, "events: [{type: Reboot, vms: [vm-9]}]", ""]))


def test_edited_entries_of_a_large_file_alone_are_read(tmp_path: Path) -> None:
    file = tmp_path / "fleet.yaml"
    write_large(file)
    before = read_fleet(str(file))
    assert before.entries is not None
    write_large(file, vm_5="Two", vm_7="", vm_1001="Three")
    edit = read_fleet(str(file), before.entries)
    assert [vm.name for vm in edit.vms] == ["vm-5", "vm-1001"]
    assert edit.gone == frozenset({"vm-7"})
    whole = read_fleet(str(file))
    assert whole.gone is None
    assert [vm for vm in whole.vms if vm.name in {"vm-5", "vm-1001"}] == edit.vms
    assert [*edit.names] == [*whole.names]
    assert (edit.entries, edit.events, edit.text) == (whole.entries, whole.events, whole.text)


def test_edit_of_removals_reads_one_vm(tmp_path: Path) -> None:
    file = tmp_path / "fleet.yaml"
    write_large(file)
    before = read_fleet(str(file)).entries
    write_large(file, vm_7="", vm_8="")
    edit = read_fleet(str(file), before)
    assert ([vm.name for vm in edit.vms], edit.gone) == (["vm-0"], frozenset({"vm-7", "vm-8"}))


@pytest.mark.parametrize(
    "old, new", [("events:", "defaults: {compute: {zone: '1'}}\nevents:"), ("vm-5:", "vm-5: &a")]
)
def test_edit_that_may_concern_other_entries_is_read_whole(
    tmp_path: Path, old: str, new: str
) -> None:
    file = tmp_path / "fleet.yaml"
    write_large(file)
    before = read_fleet(str(file)).entries
    file.write_text(file.read_text().replace(old, new))
    whole = read_fleet(str(file), before)
    assert whole.gone is None
    assert len(whole.vms) == 1000


def test_mistake_in_an_edited_entry_has_its_line(tmp_path: Path) -> None:
    file = tmp_path / "fleet.yaml"
    write_large(file)
    before = read_fleet(str(file)).entries
    file.write_text(file.read_text().replace("vm-5: {compute", "vm-5: {{compute"))
    with pytest.raises(ConfigError, match="line 7"):
        read_fleet(str(file), before)


def test_edit_of_many_entries_is_read_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("openimds.fleet.fleet_files._MOST_EDITED", 1)
    file = tmp_path / "fleet.yaml"
    write_large(file)
    before = read_fleet(str(file)).entries
    write_large(file, vm_5="Two")
    assert len(read_fleet(str(file), before).vms) == 1
    write_large(file, vm_5="Two", vm_7="")
    assert len(read_fleet(str(file), before).vms) == 999


def test_small_file_has_no_entries(tmp_path: Path) -> None:
    file = tmp_path / "fleet.yaml"
    file.write_text("vms:\n  a: {}\n")
    assert read_fleet(str(file)).entries is None
