"""`openimds host` where the process of a fleet's host has written its files."""

import json
from pathlib import Path
from typing import Any

import msgspec.json
import pytest
from click.testing import Result

from openimds.cli import host
from openimds.cli.follow_report import standing_lines
from openimds.cli.host import FleetSource, local_fleet
from openimds.errors import ConfigError
from openimds.linux.host.status import HostReport
from openimds.server.hosts.local_files import (
    FOLLOW_NAME,
    NO_VMS,
    STALE_S,
    VMS_NAME,
    FollowReport,
    read_report,
)
from openimds.settings import Settings
from tests.unit.cli.runner import CliRunner

NOW_S = 1_795_377_290.0
STANDING = FollowReport(
    name="host-1",
    control="control-1:8172",
    reason="",
    store="s",
    revision=7,
    vms=2,
    refused={"web-3": "its listener is taken"},
    certificate_ends_s=NOW_S + 86_400,
    last_message_s=NOW_S - 2,
    written_s=NOW_S,
)
VMS = {"a": {"reach": {"interface": "tap-a", "mac": "02:00:00:00:00:0a", "address": ["10.0.0.4"]}}}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / FOLLOW_NAME).write_bytes(msgspec.json.encode(STANDING))
    (tmp_path / VMS_NAME).write_bytes(msgspec.json.encode({"vms": VMS}))
    return tmp_path


@pytest.fixture
def rules(monkeypatch: pytest.MonkeyPatch) -> None:
    report = HostReport(is_up=True, is_there=True, problems=(), guests=(), dropped={})
    monkeypatch.setattr(host, "_require_root", lambda: None)
    monkeypatch.setattr(host, "read_state", lambda _: None)
    monkeypatch.setattr(host, "expected_by", lambda _: None)
    monkeypatch.setattr(host, "host_report", lambda *_: report)
    monkeypatch.setattr(host, "_warn", lambda _: None)
    monkeypatch.setattr("time.time", lambda: NOW_S)


def status(*arguments: str) -> Result:
    got = CliRunner().invoke(host.command, ["status", *arguments], catch_exceptions=False)
    assert got.exit_code == 0, got.output
    return got


def test_vms_of_the_host_are_the_fleet_of_its_rules(folder: Path) -> None:
    source = FleetSource(Settings(state=str(folder)))
    assert source.name == str(folder / VMS_NAME)
    assert [bound.interface for bound in source.bindings()] == ["tap-a"]
    assert not source.has_changed()
    (folder / VMS_NAME).write_bytes(NO_VMS)
    assert source.has_changed()
    assert source.bindings() == []


@pytest.mark.parametrize("settings", [Settings(), Settings(fleet="f"), Settings(state="/none")])
def test_other_fleets_stay_as_they_are(settings: Settings) -> None:
    assert local_fleet(settings) is settings


def test_named_fleet_goes_before_the_vms_of_the_host(folder: Path) -> None:
    settings = Settings(state=str(folder), fleet="rack.yaml")
    assert local_fleet(settings) is settings


@pytest.mark.usefixtures("rules")
def test_status_begins_with_what_the_host_follows(folder: Path) -> None:
    assert status("--state", str(folder)).stdout.splitlines()[:5] == [
        "host-1 follows control at control-1:8172",
        "it shows 2 VMs of revision 7; the last message came 2 s ago",
        "its certificate ends at 2026-11-23 19:54 UTC",
        "web-3 could not be taken: its listener is taken",
        "169.254.169.254 is here",
    ]


@pytest.mark.usefixtures("rules")
def test_status_in_json_has_the_standing(folder: Path) -> None:
    found: dict[str, Any] = json.loads(status("--state", str(folder), "--json").stdout)
    assert (found["isUp"], found["follow"]["revision"]) == (True, 7)


@pytest.mark.usefixtures("rules")
def test_status_without_a_standing_is_that_of_the_rules(tmp_path: Path) -> None:
    assert status("--state", str(tmp_path)).stdout.startswith("169.254.169.254 is here")
    assert "follow" not in json.loads(status("--json").stdout)


def test_lost_control_and_ended_process_are_named() -> None:
    lost = msgspec.structs.replace(STANDING, reason="c:1: refused", last_message_s=None, refused={})
    assert list(standing_lines(lost, NOW_S + STALE_S + 1)) == [
        "host-1 has written nothing for 16 s: is openimds host run ended?",
        "host-1 follows no control: c:1: refused",
        "its certificate ends at 2026-11-23 19:54 UTC",
    ]


def test_leaves_and_their_failure_are_shown() -> None:
    standing = msgspec.structs.replace(
        STANDING, leaves_end_s=NOW_S + 3600, leaf_failure="no answer of control within 10 s"
    )
    assert list(standing_lines(standing, NOW_S))[2:5] == [
        "its certificate ends at 2026-11-23 19:54 UTC",
        "it signs attested documents until 2026-11-22 20:54 UTC",
        "control certified no leaves for attested documents: no answer of control within 10 s",
    ]


def test_damaged_standing_is_refused(folder: Path) -> None:
    (folder / FOLLOW_NAME).write_text("{}")
    with pytest.raises(ConfigError, match="openimds host run writes it anew"):
        read_report(folder)


def test_standing_that_cannot_be_read_is_refused(tmp_path: Path) -> None:
    (tmp_path / FOLLOW_NAME).mkdir()
    with pytest.raises(ConfigError, match="expected a file that can be read"):
        read_report(tmp_path)


def test_status_of_all_hosts_is_the_list_of_control(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    asked = list[str]()

    class Api:
        def items(self, path: str) -> list[object]:
            asked.append(path)
            return []

    monkeypatch.setattr(host, "Client", lambda _: Api())
    assert status("--all", "--json", "--state", str(tmp_path)).stdout == "[]\n"
    assert status("--all").stdout.startswith("NAME\tSTATE")
    assert asked == ["/v1/hosts"] * 2
