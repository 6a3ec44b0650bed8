"""The file that tells which state of a fleet file the host rules bind."""

from pathlib import Path

import pytest

from openimds.linux.host.bound_file import (
    bound_digest,
    digest_of_file,
    fleet_digest,
    forget_bound,
    note_bound,
)
from openimds.linux.host.commands import ToolError


def test_noted_digest_is_that_of_its_fleet_alone(tmp_path: Path) -> None:
    path, fleet = tmp_path / "bound.json", tmp_path / "vms.json"
    assert bound_digest(fleet, path) is None
    note_bound(str(fleet), "d1", path)
    note_bound(str(fleet), "d2", path)
    assert bound_digest(fleet, path) == "d2"
    assert bound_digest(tmp_path / "other.json", path) is None
    assert [entry.name for entry in tmp_path.iterdir()] == ["bound.json"]


def test_links_to_the_folder_of_a_fleet_name_the_same_file(tmp_path: Path) -> None:
    path, private, link = tmp_path / "bound.json", tmp_path / "private", tmp_path / "link"
    private.mkdir()
    link.symlink_to(private)
    for noted, found in ((link, private), (private, link)):
        note_bound(str(noted / "vms.json"), "d", path)
        assert bound_digest(found / "vms.json", path) == "d"


def test_note_can_be_read_by_other_users(tmp_path: Path) -> None:
    path = tmp_path / "bound.json"
    note_bound("vms.json", "d", path)
    assert path.stat().st_mode & 0o777 == 0o644


def test_damaged_note_binds_nothing(tmp_path: Path) -> None:
    path = tmp_path / "bound.json"
    path.write_text("{")
    assert bound_digest(tmp_path / "vms.json", path) is None


def test_forgotten_note_binds_nothing(tmp_path: Path) -> None:
    path, fleet = tmp_path / "bound.json", tmp_path / "vms.json"
    note_bound(str(fleet), "d", path)
    forget_bound(path)
    forget_bound(path)
    assert bound_digest(fleet, path) is None


def test_note_that_cannot_be_written_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "none" / "bound.json"
    with pytest.raises(ToolError, match=f"{path}: no such file or directory"):
        note_bound("vms.json", "d", path)


def test_digest_is_that_of_the_content(tmp_path: Path) -> None:
    path = tmp_path / "vms.json"
    assert digest_of_file(str(path)) == ""
    path.write_bytes(b"{}")
    assert digest_of_file(str(path)) == fleet_digest(b"{}") != fleet_digest(b"")


def test_note_with_the_same_content_is_not_written_again(tmp_path: Path) -> None:
    path = tmp_path / "bound.json"
    note_bound("vms.json", "d", path)
    before = path.stat().st_ino, path.stat().st_mtime_ns
    note_bound("vms.json", "d", path)
    assert (path.stat().st_ino, path.stat().st_mtime_ns) == before
