"""The request record of the real process, and the report on the clients' mistakes."""

import json
import subprocess
from pathlib import Path
from typing import Any

import httpx2
import pytest

from tests.system.process import COMMAND, Server, clean_environment, run, serving

pytestmark = pytest.mark.system

LEAF = "/metadata/instance/compute/vmId?api-version=2021-02-01"
TOKEN = "/metadata/identity/oauth2/token?api-version=2018-02-01&resource=https://vault.azure.net"
CREDENTIAL = "/metadata/identity/issuecredential?cred-api-version=2.0"
ATTESTED = "/metadata/attested/document?api-version=2021-02-01&nonce=1234567890"
FLEET = json.dumps({"vms": {"a": {"identities": {"system": True}}}})


def admin(server: Server) -> httpx2.Client:
    return httpx2.Client(base_url=server.ready["admin"], headers=server.authorization)


def guest(server: Server, **headers: str) -> httpx2.Client:
    return httpx2.Client(base_url=server.url, headers={"Metadata": "true", **headers})


def listed(server: Server, cwd: Path, *arguments: str) -> list[dict[str, Any]]:
    got = run("requests", "--json", *arguments, cwd=cwd, **server.variables)
    assert got.stderr == ""
    records: list[dict[str, Any]] = json.loads(got.stdout)
    return records


def test_recorded_requests_are_listed_without_secrets(tmp_path: Path) -> None:
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
        records = listed(server, tmp_path)
        assert [(row["vm"], row["endpoint"], row["status"]) for row in records] == [
            ("a", "token", 200),
            ("a", "attested", 200),
            ("a", "issue_credential", 400),
            ("a", "app_service", 403),
        ]
        text = json.dumps(records) + api.get("/v1/requests/report").text
        for secret in (token, token.split(".")[2], signature[:40], "hush"):
            assert secret not in text
        assert records[0]["tokenUntil"] > records[0]["at"]
        assert records[3]["headers"]["x-identity-header"] == "***"
        assert "openimds_requests_recorded_total 4.0\n" in api.get("/metrics").text
        assert run("requests", "--clear", cwd=tmp_path, **server.variables).returncode == 0
        assert listed(server, tmp_path) == []
        assert server.stop() == (0, "")


def test_report_lists_mistakes_and_spares_a_good_client(tmp_path: Path) -> None:
    with serving("--record", "100", cwd=tmp_path) as server, guest(server) as caller:
        caller.get(LEAF + "&format=text")
        got = run("requests", "--report", cwd=tmp_path, **server.variables)
        assert (got.returncode, got.stderr) == (0, "no mistakes\n")
        caller.get(LEAF)
        caller.get(LEAF + "&format=text", headers={"Via": "1.1 squid"})
        got = run("requests", "--report", cwd=tmp_path, **server.variables)
        assert got.returncode == 1
        assert [line.split("\t")[0] for line in got.stdout.splitlines()] == [
            "RULE",
            "leaf_needs_text",
            "proxy",
        ]
        assert server.stop() == (0, "")


def test_records_name_faults_and_the_report_judges_retries(tmp_path: Path) -> None:
    with serving("--record", "100", cwd=tmp_path) as server, guest(server) as caller:
        with admin(server) as api:
            for fault in (
                # Late, so that the next request was not under way before.
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
        records = listed(server, tmp_path)
        assert [(row["status"], row["reason"], row["fault"]) for row in records] == [
            *[(429, "throttled", "status")] * 4,
            (400, "leaf_needs_text", "delay"),
            (0, "reset", "reset"),
        ]
        got = run("requests", "--report", "--json", cwd=tmp_path, **server.variables)
        assert {row["rule"]: row["numbers"] for row in json.loads(got.stdout)} == {
            "leaf_needs_text": [5],
            "throttle_ignored": [3, 4],
        }
        assert server.stop() == (0, "")


def test_requests_can_be_followed_without_recording(tmp_path: Path) -> None:
    with serving(cwd=tmp_path) as server, guest(server) as caller, admin(server) as api:
        caller.get("/metadata/versions")
        got = run("requests", cwd=tmp_path, **server.variables)
        assert (got.returncode, got.stdout) == (1, "")
        assert "openimds serve --record 1000" in got.stderr
        following = subprocess.Popen(
            [*COMMAND, "requests", "--follow", "--json"],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=tmp_path,
            env=clean_environment({"PYTHONUNBUFFERED": "1", **server.variables}),
        )
        try:
            recorded = "openimds_requests_recorded_total 0.0\n"
            # The first recorded request shows that the feed has begun.
            while recorded in api.get("/metrics").text:
                caller.get("/metadata/versions")
            assert following.stdout
            first = json.loads(following.stdout.readline())
            assert (first["number"], first["target"]) == (1, "/metadata/versions")
            assert "openimds_requests_held 0.0\n" in api.get("/metrics").text
            assert server.stop() == (0, "")
            _, err = following.communicate(timeout=30)
            assert (following.returncode, err[:29]) == (0, "the server has ended the feed")
        finally:
            following.kill()
            following.communicate(timeout=30)
