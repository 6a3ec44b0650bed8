"""The fleet that `openimds host follow` reads, and its changes."""

from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path

import pytest

from openimds.cli import host
from openimds.cli.host import FleetSource, file_state
from openimds.errors import Error
from openimds.linux.host.bindings import InterfaceBinding
from openimds.linux.host.bound_file import fleet_digest
from openimds.server.hosts.local_files import VMS_NAME
from openimds.settings import Settings
from tests.unit.cli.runner import CliRunner

ONE = 'vms: {a: {reach: {interface: tap-a, mac: "02:00:00:00:00:0a", address: [10.0.0.4]}}}'

OWN = '{"vms": {"a": {"reach": {"interface": "tap-a", "address": ["10.0.0.4"]}}}}'


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


def test_up_reads_the_fleet_while_it_holds_the_lock(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, bound = tmp_path / "fleet.yaml", list[str]()
    path.write_text("vms: {}")

    @contextmanager
    def lock() -> Iterator[None]:
        path.write_text(ONE)  # Another guest has started while this one waited.
        yield

    def plan(_state: object, found: list[InterfaceBinding], *_: object, **__: object) -> list[None]:
        bound.extend(binding.vm for binding in found)
        return []

    for name, value in (
        ("_require_root", lambda: None),
        ("host_lock", lock),
        ("read_state", lambda _: None),
        ("expected_by", lambda _: None),
        ("plan_up", plan),
        ("_warn", lambda _: None),
    ):
        monkeypatch.setattr(host, name, value)
    ran = CliRunner().invoke(host.command, ["up", "--dry-run", "--fleet", str(path)])
    assert (ran.exit_code, bound) == (0, ["a"])


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


def test_revision_of_a_server_is_one_cheap_question(monkeypatch: pytest.MonkeyPatch) -> None:
    asked, revision = list[str](), [7]

    class Api:
        def __init__(self, _: str) -> None:
            """Answer like a server of two VMs."""

        def ask(self, _method: str, path: str) -> object:
            asked.append(path)
            return {"items": [{"name": "a"}], "next": "…", "revision": revision[0]}

        def vms(self) -> list[object]:
            return []

    monkeypatch.setattr(host, "Client", Api)
    source = FleetSource(Settings())
    assert source.bindings() == []
    assert not source.has_changed()
    revision[0] = 8
    assert source.has_changed()
    assert set(asked) == {"/v1/vms?limit=1"}


def test_server_that_does_not_answer_is_no_change(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENIMDS_TOKEN_FILE", str(tmp_path / "none"))
    source = FleetSource(Settings())
    assert source.name == "the running server"
    with pytest.raises(Error):
        source.bindings()
    assert not source.has_changed()


def test_bound_state_is_noted_for_the_host_of_a_fleet_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    noted: list[tuple[str, ...]] = []
    monkeypatch.setattr(host, "note_bound", lambda *words: noted.append(words))
    monkeypatch.setattr(host, "forget_bound", lambda: noted.append(()))
    own, other = tmp_path / VMS_NAME, tmp_path / "fleet.yaml"
    own.write_text(OWN)
    other.write_text(ONE)
    sources = [FleetSource(Settings(state=str(tmp_path))), FleetSource(Settings(fleet=str(other)))]
    for source in sources:
        source.bindings()
        own.write_text('{"vms": {}}')  # Read later: the note is on the state that is bound.
        source.note_bound()
    assert noted == [(str(own), fleet_digest(OWN.encode())), ()]
