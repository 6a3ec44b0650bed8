"""A restart with the same state folder and fleet file."""

from collections.abc import Callable
from pathlib import Path

import httpx2
import pytest

from tests.system.process import serving

pytestmark = pytest.mark.system

FILE = """
vms:
  web-1:
    compute: {vmSize: S, tags: {team: web}}
    identities: {system: true}
    reach: {address: [127.0.0.61]}
  db-1: {reach: {address: [127.0.0.62]}}
"""
MERGE = {"Content-Type": "application/merge-patch+json"}


def after(
    folder: Path, change: Callable[[httpx2.Client], httpx2.Response | None], text: str = FILE
) -> dict[str, dict[str, object]]:
    """Start on a state folder, make a change, and return the VMs by their names."""
    (folder / "fleet.yaml").write_text(text)
    arguments = ("--fleet", "fleet.yaml", "--state", "kept", "--public", "none")
    with (
        serving(*arguments, cwd=folder) as server,
        httpx2.Client(base_url=server.ready["admin"], headers=server.authorization) as api,
    ):
        if made := change(api):
            made.raise_for_status()
        return {vm["name"]: vm for vm in api.get("/v1/vms").raise_for_status().json()["items"]}


def nothing(_: httpx2.Client) -> None:
    return None


def test_patched_tag_stays_after_a_restart(tmp_path: Path) -> None:
    patch = {"compute": {"tags": {"env": "test"}}}
    changed = after(tmp_path, lambda api: api.patch("/v1/vms/web-1", json=patch, headers=MERGE))
    assert changed["web-1"]["compute"] == {"vmSize": "S", "tags": {"env": "test", "team": "web"}}
    assert after(tmp_path, nothing) == changed


def test_removed_identity_stays_removed_after_a_restart(tmp_path: Path) -> None:
    patch = {"identities": {"system": None}}
    changed = after(tmp_path, lambda api: api.patch("/v1/vms/web-1", json=patch, headers=MERGE))
    assert "identities" not in changed["web-1"]
    assert after(tmp_path, nothing) == changed


def test_removed_vm_comes_back_only_with_an_edit(tmp_path: Path) -> None:
    changed = after(tmp_path, lambda api: api.delete("/v1/vms/web-1"))
    assert changed.keys() == {"db-1"}
    assert after(tmp_path, nothing) == changed
    assert after(tmp_path, nothing, FILE.replace("vmSize: S", "vmSize: T")).keys() == {
        "db-1",
        "web-1",
    }


def test_start_takes_faults_and_events_of_a_removed_vm(tmp_path: Path) -> None:
    """The file did not change, so that it cannot stop the server."""
    text = (
        f"{FILE}faults: [{{effect: status, status: 410, vms: [web-1]}}]\n"
        "events: [{type: Reboot, vms: [web-1, db-1], atS: 86400}]\n"
    )
    changed = after(tmp_path, lambda api: api.delete("/v1/vms/web-1"), text)
    assert after(tmp_path, nothing, text) == changed
    assert after(tmp_path, nothing, text.replace("86400", "86000")) == changed


def test_edit_of_a_stopped_server_keeps_what_the_api_set(tmp_path: Path) -> None:
    patch = {"compute": {"zone": "3", "vmSize": "Mine"}}
    after(tmp_path, lambda api: api.patch("/v1/vms/web-1", json=patch, headers=MERGE))
    edited = after(tmp_path, nothing, FILE.replace("team: web", "team: core"))
    assert edited["web-1"]["compute"] == {"vmSize": "Mine", "zone": "3", "tags": {"team": "core"}}
