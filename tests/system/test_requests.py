"""The real process remembers what its guests asked, and tells what they did wrong."""

import json
import subprocess
from pathlib import Path
from typing import Any

import httpx2
import pytest

from tests.system.process import COMMAND, Serving, clean_environment, run, serving

pytestmark = pytest.mark.system

LEAF = "/metadata/instance/compute/vmId?api-version=2021-02-01"
TOKEN = "/metadata/identity/oauth2/token?api-version=2018-02-01&resource=https://vault.azure.net"
CREDENTIAL = "/metadata/identity/issuecredential?cred-api-version=2.0"
ATTESTED = "/metadata/attested/document?api-version=2021-02-01&nonce=1234567890"
FLEET = json.dumps({"vms": {"a": {"identities": {"system": True}}}})


def variables(server: Serving) -> dict[str, str]:
    return {
        "OPENIMDS_ADMIN": server.ready["admin"],
        "OPENIMDS_TOKEN_FILE": server.ready["token_file"],
    }


def admin(server: Serving) -> httpx2.Client:
    token = Path(server.ready["token_file"]).read_text().strip()
    return httpx2.Client(
        base_url=server.ready["admin"], headers={"Authorization": f"Bearer {token}"}
    )


def guest(server: Serving, **headers: str) -> httpx2.Client:
    return httpx2.Client(base_url=server.url, headers={"Metadata": "true", **headers})


def listed(server: Serving, cwd: Path, *arguments: str) -> list[dict[str, Any]]:
    got = run("requests", "--json", *arguments, cwd=cwd, **variables(server))
    assert got.stderr == ""
    found: list[dict[str, Any]] = json.loads(got.stdout)
    return found


def test_what_was_asked_is_listed_and_nothing_secret_is_in_it(tmp_path: Path) -> None:
    (tmp_path / "fleet.json").write_text(FLEET)
    arguments = ("--fleet", "fleet.json", "--record", "100", "--msi-v2")
    with (
        serving(*arguments, cwd=tmp_path) as server,
        guest(server) as caller,
        admin(server) as api,
    ):
        token = caller.get(TOKEN).json()["access_token"]
        signature = caller.get(ATTESTED).json()["signature"]
        caller.post(CREDENTIAL, json={"csr": "hush-csr", "attestation_token": "hush-token"})
        caller.get(
            "/msi/token?api-version=2019-08-01", headers={"X-Identity-Header": "hush-header"}
        )
        found = listed(server, tmp_path)
        assert [(one["vm"], one["endpoint"], one["status"]) for one in found] == [
            ("a", "token", 200),
            ("a", "attested", 200),
            ("a", "issue_credential", 400),
            ("a", "app_service", 403),
        ]
        text = json.dumps(found) + api.get("/v1/requests/report").text
        for secret in (token, token.split(".")[2], signature[:40], "hush"):
            assert secret not in text
        assert found[0]["tokenUntil"] > found[0]["at"]
        assert found[3]["headers"]["x-identity-header"] == "***"
        assert "openimds_requests_recorded_total 4.0\n" in api.get("/metrics").text
        assert run("requests", "--clear", cwd=tmp_path, **variables(server)).returncode == 0
        assert listed(server, tmp_path) == []
        assert server.stop() == (0, "")


def test_a_report_finds_what_a_client_did_wrong_and_a_good_one_did_nothing(tmp_path: Path) -> None:
    with serving("--record", "100", cwd=tmp_path) as server, guest(server) as caller:
        caller.get(LEAF + "&format=text")
        got = run("requests", "--report", cwd=tmp_path, **variables(server))
        assert (got.returncode, got.stderr) == (0, "no mistakes\n")
        caller.get(LEAF)
        caller.get(LEAF + "&format=text", headers={"Via": "1.1 squid"})
        got = run("requests", "--report", cwd=tmp_path, **variables(server))
        assert got.returncode == 1
        assert [line.split("\t")[0] for line in got.stdout.splitlines()] == [
            "RULE",
            "leaf_needs_text",
            "proxy",
        ]
        assert server.stop() == (0, "")


def test_what_was_played_is_named_and_what_a_client_made_of_it_is_found(tmp_path: Path) -> None:
    with serving("--record", "100", cwd=tmp_path) as server, guest(server) as caller:
        with admin(server) as api:
            for fault in (
                # Late, so that what this guest asks next was not under way before.
                {"effect": "status", "status": 429, "endpoint": "token", "delay_s": 0.1},
                {"effect": "delay", "delay_s": 0.01, "endpoint": "instance"},
                {"effect": "reset", "endpoint": "versions"},
            ):
                assert api.post("/v1/faults", json=fault).status_code == 201
        for _ in range(4):
            caller.get(TOKEN)
        caller.get(LEAF)
        with pytest.raises(httpx2.TransportError):
            caller.get("/metadata/versions")
        found = listed(server, tmp_path)
        assert [(one["status"], one["reason"], one["fault"]) for one in found] == [
            *[(429, "throttled", "status")] * 4,
            (400, "leaf_needs_text", "delay"),
            (0, "reset", "reset"),
        ]
        got = run("requests", "--report", "--json", cwd=tmp_path, **variables(server))
        assert {one["rule"]: one["numbers"] for one in json.loads(got.stdout)} == {
            "leaf_needs_text": [5],
            "throttle_ignored": [3, 4],
        }
        assert server.stop() == (0, "")


def test_without_recording_nothing_is_kept_and_following_works_all_the_same(tmp_path: Path) -> None:
    with serving(cwd=tmp_path) as server, guest(server) as caller, admin(server) as api:
        caller.get("/metadata/versions")
        got = run("requests", cwd=tmp_path, **variables(server))
        assert (got.returncode, got.stdout) == (1, "")
        assert "openimds serve --record 1000" in got.stderr
        following = subprocess.Popen(
            [*COMMAND, "requests", "--follow", "--json"],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=tmp_path,
            env=clean_environment({"PYTHONUNBUFFERED": "1", **variables(server)}),
        )
        try:
            recorded = "openimds_requests_recorded_total 0.0\n"
            # The first request that is noted tells that the feed has begun.
            while recorded in api.get("/metrics").text:
                caller.get("/metadata/versions")
            assert following.stdout
            first = json.loads(following.stdout.readline())
            assert (first["number"], first["target"]) == (1, "/metadata/versions")
            assert "openimds_requests_held 0.0\n" in api.get("/metrics").text
            assert server.stop() == (0, "")
            _, said = following.communicate(timeout=30)
            assert (following.returncode, said[:29]) == (0, "the server has ended the feed")
        finally:
            following.kill()
            following.communicate(timeout=30)
