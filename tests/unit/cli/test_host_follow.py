"""The fleet that `openimds host follow` reads, and its changes."""

from itertools import pairwise
from pathlib import Path

import pytest

from openimds.cli.host import FleetSource, file_state
from openimds.errors import Error
from openimds.settings import Settings

ONE = 'vms: {a: {reach: {interface: tap-a, mac: "02:00:00:00:00:0a", address: [10.0.0.4]}}}'


def test_file_is_read_again_only_after_a_change(tmp_path: Path) -> None:
    path = tmp_path / "fleet.yaml"
    path.write_text(ONE)
    source = FleetSource(Settings(fleet=str(path)))
    assert source.name == str(path)
    assert [binding.vm for binding in source.bindings()] == ["a"]
    assert not source.has_changed()
    path.write_text("vms: {a: {}}")
    assert source.has_changed()
    assert source.bindings() == []
    assert not source.has_changed()


def test_file_that_cannot_be_read_is_seen_again_when_it_is_back(tmp_path: Path) -> None:
    path = tmp_path / "fleet.yaml"
    source = FleetSource(Settings(fleet=str(path)))
    with pytest.raises(Error):
        source.bindings()
    assert not source.has_changed()
    path.write_text(ONE)
    assert source.has_changed()


def test_folder_changes_with_each_of_its_files(tmp_path: Path) -> None:
    states = [file_state(tmp_path)]
    for change in (
        lambda: (tmp_path / "a.yaml").write_text(ONE),
        lambda: (tmp_path / "b.yaml").write_text("vms: {}"),
        (tmp_path / "b.yaml").unlink,
    ):
        change()
        states.append(file_state(tmp_path))
    assert [a == b for a, b in pairwise(states)] == [False] * 3
    assert file_state(tmp_path) == states[-1]


def test_server_that_does_not_answer_is_no_change(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENIMDS_TOKEN_FILE", str(tmp_path / "none"))
    source = FleetSource(Settings())
    assert source.name == "the running server"
    with pytest.raises(Error):
        source.bindings()
    assert not source.has_changed()
