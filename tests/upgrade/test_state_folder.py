"""State folders of earlier releases: the server opens them and serves the same bodies.

`state-0.1.0/` comes from release 0.1.0: `fleet.sql` is its store as SQL text, `fleet.yaml` the
fleet file, `served/` the bodies that its guests got. Keys and tokens are left out; the server makes
new ones. Its virtual clock stood still, so events and faults are where they were.
"""

import json
import shutil
import sqlite3
from collections.abc import Iterator
from http.client import HTTPConnection
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from tests.system.process import Server, serving

FOLDERS = sorted(Path(__file__).parent.glob("state-*"))
CORRECTED = {
    "compute.publicKeys": 14,
    "compute.securityProfile.secureBootEnabled": 14,
    "compute.securityProfile.securityType": 14,
    "compute.securityProfile.virtualTpmEnabled": 14,
    "compute.isHostCompatibilityLayerVm": 60,
    "compute.storageProfile.imageReference.exactVersion": 6,
}
"""Defaults that later recordings have corrected, with the number in `facts.corrections`."""
ADDRESSES = {"web-1": "127.0.0.11", "db-1": "127.0.0.12", "api-1": "127.0.0.13"}

pytestmark = pytest.mark.system


@pytest.fixture(scope="module", params=FOLDERS, ids=lambda folder: folder.name)
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a copy of a release's folder with its store built from the SQL text."""
    copy: Path = tmp_path_factory.mktemp("upgrade") / request.param.name
    shutil.copytree(request.param, copy)
    state = copy / "state"
    state.mkdir(mode=0o700)
    store = sqlite3.connect(state / "fleet.db")
    store.executescript((copy / "fleet.sql").read_text("utf-8"))
    store.close()
    return copy


@pytest.fixture(scope="module")
def served(folder: Path) -> Iterator[Server]:
    options = ["--fleet", "fleet.yaml", "--state", "state", "--public", "none", "--virtual-clock"]
    with serving(*options, "--no-rate-limit", cwd=folder) as server:
        yield server


def get(url: str, path: str, *, source: str = "", **headers: str) -> bytes:
    parts = urlsplit(url)
    assert parts.hostname
    guest = HTTPConnection(
        parts.hostname, parts.port, timeout=10, source_address=(source, 0) if source else None
    )
    guest.request("GET", path, headers=headers)
    answer = guest.getresponse()
    body = answer.read()
    guest.close()
    assert answer.status == 200, body
    return body


def admin(served: Server, path: str) -> Any:
    token = Path(served.ready["token_file"]).read_text().strip()
    return json.loads(get(served.ready["admin"], path, Authorization=f"Bearer {token}"))


def test_every_guest_gets_the_same_bodies(folder: Path, served: Server) -> None:
    recorded = sorted((folder / "served").iterdir())
    assert len(recorded) == 5 * len(ADDRESSES)
    for file in recorded:
        vm, endpoint, version = file.name.removesuffix(".json").split(".")
        path = f"/metadata/{endpoint}?api-version={version}"
        body = get(served.url, path, source=ADDRESSES[vm], Metadata="true")
        changed = differences(json.loads(file.read_bytes()), json.loads(body))
        assert changed <= CORRECTED.keys(), file.name
        if not changed:
            assert body == file.read_bytes()


def differences(before: Any, after: Any, path: str = "") -> set[str]:
    """Return the paths of the values that differ, without numbers of array items."""
    if isinstance(before, dict) and isinstance(after, dict) and [*before] == [*after]:
        parts = ((before[key], after[key], f"{path}.{key}".lstrip(".")) for key in before)
    elif isinstance(before, list) and isinstance(after, list) and len(before) == len(after):
        parts = ((one, other, path) for one, other in zip(before, after, strict=True))
    else:
        return set() if before == after else {path}
    return {found for part in parts for found in differences(*part)}


def test_vms_keep_origin_and_revision(served: Server) -> None:
    rows = admin(served, "/v1/vms")["items"]
    assert {(row["name"], row["origin"], row["revision"]) for row in rows} == {
        ("web-1", "file", 1),
        ("db-1", "file", 2),
        ("api-1", "api", 7),
    }


def test_audit_and_event_log_are_whole(served: Server) -> None:
    changes = admin(served, "/v1/audit?limit=100")["items"]
    assert sorted(change["revision"] for change in changes) == [1, 2, 3, 4, 5, 6, 7]
    log = admin(served, "/v1/events/log?limit=100")["items"]
    assert [(entry["number"], entry["trigger"]) for entry in log] == [
        (1, "declared"),
        (2, "declared"),
        (3, "declared"),
        (4, "cancel"),
        (5, "not-before"),
        (6, "approved"),
    ]


def test_events_scenarios_faults_and_clock_go_on(served: Server) -> None:
    events = admin(served, "/v1/events")["items"]
    assert {(event["type"], event["status"]) for event in events} == {
        ("Reboot", "Started"),
        ("Freeze", "Started"),
    }
    group = "c3a18333-25f1-45d8-86ba-25a65d78c979/lab"
    assert {event["scope"] for event in events} == {f"set:{group}/as-1", "vm:db-1"}
    (scenario,) = admin(served, "/v1/scenarios")["items"]
    assert scenario["name"] == "fleet"
    faults = {fault["id"]: fault for fault in admin(served, "/v1/faults")["items"]}
    assert faults["4"]["origin"] == "api"
    assert faults["4"]["status"] == 500
    assert admin(served, "/v1/clock")["now"].startswith("2026-11-01T12:02:00")


def test_a_guest_gets_a_token_from_new_keys(served: Server) -> None:
    path = "/metadata/identity/oauth2/token?api-version=2018-02-01&resource=https://vault.azure.net"
    body = json.loads(get(served.url, path, source=ADDRESSES["web-1"], Metadata="true"))
    assert body["token_type"] == "Bearer"
